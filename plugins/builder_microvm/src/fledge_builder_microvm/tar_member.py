"""Headers of tar members: POSIX.1-2001 pax, a ustar header, and before it an extended one for what that can't hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zlib import adler32

from fledge.errors import BuildError
from fledge.tree.inode import NO_XATTRS, Device, Inode
from fledge.tree.tar import MAX_EXTENSION
from fledge.tree.tar_format import BLOCK, USTAR_MAGIC, padded
from fledge.values import show_path

HARD_LINK: Final = b"1"
_NAME: Final = 100
"""Bytes of a header's name and linkname."""
_MAX_OCTAL_ID: Final = 0o7777777
_MAX_OCTAL_SIZE: Final = 0o77777777777
_EXTENDED: Final = b"x"


def member(
    path: bytes,
    flag: bytes,
    inode: Inode,
    *,
    size: int = 0,
    link: bytes = b"",
    records: Mapping[bytes, bytes] = NO_XATTRS,
) -> bytes:
    """The headers of a member. `size`: of the data that follow.

    `records`: what the extended header has beside what the inode needs. Raises BuildError for an extended attribute
    that no layer can hold.
    """
    extended = dict(records) if records else {}
    if len(path) > _NAME and b"GNU.sparse.name" not in extended:
        extended[b"path"] = path
    if len(link) > _NAME:
        extended[b"linkpath"] = link
    if inode.uid > _MAX_OCTAL_ID:
        extended[b"uid"] = b"%d" % inode.uid
    if inode.gid > _MAX_OCTAL_ID:
        extended[b"gid"] = b"%d" % inode.gid
    if size > _MAX_OCTAL_SIZE:
        extended[b"size"] = b"%d" % size
    seconds, nanoseconds = divmod(inode.mtime, 10**9)
    if nanoseconds or not 0 <= seconds <= _MAX_OCTAL_SIZE:
        extended[b"mtime"] = _decimal(inode.mtime)
    if flag != HARD_LINK:
        for name, value in inode.xattrs.items():
            if b"=" in name:  # What ends a record's key (pax, "Extended Header"); readers have no escape in common.
                raise BuildError(
                    f"{show_path(path.rstrip(b'/'))}: the extended attribute {show_path(name)[1:]} has a = in its name,"
                    " which no layer can hold"
                )
            extended[b"SCHILY.xattr." + name] = value
    number = (inode.major, inode.minor) if isinstance(inode, Device) else (0, 0)
    if not extended:
        return _header(path, flag, inode.mode, inode.uid, inode.gid, size, seconds, link, number)
    owner = min(inode.uid, _MAX_OCTAL_ID), min(inode.gid, _MAX_OCTAL_ID)
    moment = min(max(seconds, 0), _MAX_OCTAL_SIZE)
    header = _header(path[:_NAME], flag, inode.mode, *owner, min(size, _MAX_OCTAL_SIZE), moment, link[:_NAME], number)
    body = b"".join(_record(key, value) for key, value in sorted(extended.items()))
    if len(body) > MAX_EXTENSION:
        raise BuildError(
            f"{show_path(path.rstrip(b'/'))}: its extended attributes take {len(body)} bytes in a layer;"
            f" {MAX_EXTENSION} are allowed"
        )
    before = _header(b"PaxHeaders/" + path[-80:], _EXTENDED, 0o644, 0, 0, len(body), 0)
    return b"".join((before, body, bytes(padded(len(body)) - len(body)), header))


def _decimal(nanoseconds: int) -> bytes:
    """Seconds with as many digits after the point as are needed."""
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return sign + (b"%d.%09d" % (seconds, rest)).rstrip(b"0").rstrip(b".")


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    if len(b"%d" % length) + rest != length:
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _header(
    name: bytes,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    block = bytearray(
        b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b00%b%07o\0%07o\0"
        % (
            name.ljust(_NAME, b"\0"), mode, uid, gid, size, mtime, flag, link.ljust(_NAME, b"\0"), USTAR_MAGIC,
            bytes(64), *device,
        )
    ).ljust(BLOCK, b"\0")  # fmt: skip
    # The sum of the bytes: Adler-32's low half is 1 + the sum modulo 65521, which half a header can't reach.
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    block[148:156] = b"%06o\0 " % total
    return bytes(block)
