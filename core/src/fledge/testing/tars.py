"""Tars and layers byte by byte, so that tests can say what no tool would write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fledge.image.descriptor import Descriptor
from fledge.image.documents import OCI_LAYER
from fledge.store import Store
from fledge.testing.images import Blobs
from fledge.tree.ingest import ingest
from fledge.tree.layer import Layer
from fledge.values import Digest

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"
V7 = bytes(8)


def octal(value: int, width: int) -> bytes:
    """Digits and a NUL."""
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """GNU's form of large and negative numbers."""
    return ((value + (1 << 8 * width) if value < 0 else value) | 0x80 << 8 * (width - 1)).to_bytes(width, "big")


def padded(data: bytes) -> bytes:
    """`data` and zeros up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def header(
    name: bytes,
    flag: bytes = b"0",
    *,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    size: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    chksum: bytes | None = None,
    tail: Mapping[int, bytes] | None = None,
) -> bytes:
    """One header block. Numbers can be given as the field's bytes; `tail`: bytes for any offset, written last."""

    def field(value: int | bytes, width: int) -> bytes:
        return (octal(value, width) if isinstance(value, int) else value).ljust(width, b"\0")

    block = bytearray(
        name.ljust(100, b"\0")
        + field(mode, 8)
        + field(uid, 8)
        + field(gid, 8)
        + field(size, 12)
        + field(mtime, 12)
        + b" " * 8
        + flag
        + link.ljust(100, b"\0")
        + magic
        + bytes(64)
        + (bytes(16) if magic == V7 else octal(device[0], 8) + octal(device[1], 8))
        + prefix.ljust(155, b"\0")
    ).ljust(BLOCK, b"\0")
    for at, data in (tail or {}).items():
        block[at : at + len(data)] = data
    block[148:156] = b"%06o\0 " % sum(block) if chksum is None else chksum
    assert len(block) == BLOCK
    return bytes(block)


def member(name: bytes, data: bytes = b"", flag: bytes = b"0", **fields: object) -> bytes:
    """A header with its data; the size is the data's unless it is given."""
    return header(name, flag, **{"size": len(data), **fields}) + padded(data)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    """An extended header, which goes before its member."""
    return member(b"PaxHeaders/x", b"".join(record(key, value) for key, value in records), flag)


def archive(*members: bytes) -> bytes:
    """The members and the end marker."""
    return b"".join(members) + END


def add_layer(store: Store, tar: bytes) -> Layer:
    """Takes an uncompressed layer into the store."""
    digest = Digest.of(tar)
    return ingest(store, Descriptor(OCI_LAYER, digest, len(tar)), digest, [tar])


def write_layout(folder: Path, layers: Sequence[bytes]) -> None:
    """An OCI layout, tag `latest`, of uncompressed layers, lowest first, for tools that are not ours."""
    blobs = Blobs()
    config = blobs.config([str(Digest.of(layer)) for layer in layers], config={})
    top = blobs.manifest(config, [blobs.add(layer, OCI_LAYER) for layer in layers])
    blobs.layout(folder, {"latest": top})
