"""What is compressed in an initramfs, unpacked aside into a file without a name."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import IO, Final, NamedTuple

from fledge.errors import BuildError
from fledge.tree.content import FileSource

from fledge_fs_cpio import format as newc

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
_OTHERS: Final = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x5d\0\0": "lzma",
    b"\x89LZO": "lzo",
    b"\x02\x21\x4c\x18": "lz4",
}
"""What the kernel also decompresses (lib/decompress.c)."""

_INPUT: Final = 128 << 10
_ZSTD_INPUT: Final = 4 << 10
"""zstandard returns all that its input stands for, and four bytes can stand for 128 KiB."""
_OUTPUT: Final = 1 << 20
_MAX_WINDOW: Final = 1 << 27
"""What the kernel allows (lib/decompress_unzstd.c)."""


class Unpacked(NamedTuple):
    """What a compressed run of bytes stands for."""

    source: FileSource
    end: int
    """Where the run ends in the file that it was read from."""


def begins_with_archive(head: bytes) -> bool:
    """Whether `head` is the beginning of a newc archive, compressed or not."""
    head = head.lstrip(b"\0")
    if head.startswith(GZIP):
        head = _first_of_gzip(head)
    elif head.startswith(ZSTD):
        head = _first_of_zstd(head)
    return head.startswith((newc.MAGIC, newc.MAGIC_CHECKSUM))


def _first_of_gzip(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(head, newc.HEADER_SIZE)
    except zlib.error:
        return b""


def _first_of_zstd(head: bytes) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(head) as reader:
            return reader.read(newc.HEADER_SIZE)
    except zstandard.ZstdError:
        return b""


def unpack(file: IO[bytes], start: int, path: Path) -> Unpacked:
    """The gzip member or zstd frame that begins at byte `start` of `file`.

    Raises BuildError, with `path`, when it is damaged or cut short, when it is neither, or when there is no room for it.
    """
    file.seek(start)
    magic = file.read(5)
    file.seek(start)
    for other, name in _OTHERS.items():
        if magic.startswith(other):
            raise BuildError(f"{path} is compressed with {name}; gzip, zstd and none can be read")
    if not magic.startswith((GZIP, ZSTD)):
        raise BuildError(f"{path} is no initramfs: what stands at byte {start} is neither newc, gzip nor zstd")
    try:
        with tempfile.TemporaryFile(prefix="fledge-initramfs-") as out:
            unused = _gunzip(file, out, path) if magic.startswith(GZIP) else _unzstd(file, out, path)
            out.flush()
            # The mapping keeps the file when its descriptor is closed.
            return Unpacked(FileSource(Path(f"/proc/self/fd/{out.fileno()}")), file.tell() - unused)
    except OSError as error:
        raise BuildError(f"can't unpack {path} in {tempfile.gettempdir()}: {error.strerror}") from error


def _gunzip(file: IO[bytes], out: IO[bytes], path: Path) -> int:
    """How many bytes were read beyond the end."""
    decompressor = zlib.decompressobj(31)
    data = b""
    try:
        while not decompressor.eof:
            data = decompressor.unconsumed_tail or file.read(_INPUT)
            if not data:
                raise BuildError(f"{path} is cut short: its gzip stream has no end")
            out.write(decompressor.decompress(data, _OUTPUT))
    except zlib.error as error:
        raise BuildError(f"{path} is damaged: {error}") from error
    return len(decompressor.unused_data)


def _unzstd(file: IO[bytes], out: IO[bytes], path: Path) -> int:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
    try:
        while not decompressor.eof:
            data = file.read(_ZSTD_INPUT)
            if not data:
                raise BuildError(f"{path} is cut short: its zstd frame has no end")
            out.write(decompressor.decompress(data))
    except zstandard.ZstdError as error:
        raise BuildError(f"{path} is damaged: {error}") from error
    return len(decompressor.unused_data)
