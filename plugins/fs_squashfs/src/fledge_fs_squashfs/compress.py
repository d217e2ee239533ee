"""The compressors: zstd, xz and gzip, each in the form that the kernel's decompressor takes."""

from __future__ import annotations

import platform
from struct import Struct
from typing import Final, Protocol

from fledge.errors import BuildError

from fledge_fs_squashfs.format import BLOCK_SIZE_MAX, COMPRESSOR_IDS, COMPRESSORS, METADATA_SIZE
from fledge_fs_squashfs.zstd import Zstd

_XZ_MEMORY: Final = 64 << 20


class Codec(Protocol):
    """Compresses and decompresses one block at a time, from several threads at once."""

    name: str
    identity: str
    """Everything that decides the compressed bytes beside the input: codec, level, library version."""
    options: bytes
    """The compressor options of the superblock; empty where they are the defaults."""

    def compress(self, data: bytes | memoryview) -> bytes | None:
        """One block; None when it does not get smaller."""

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """One block, which must not have more than `limit` bytes. Raises BuildError when it is corrupt."""


class Xz:
    """One .xz stream a block, with CRC32: the kernel's decoder has no other checksum."""

    name = "xz"
    LEVELS: Final = range(10)
    DEFAULT: Final = 6

    def __init__(self, level: int = DEFAULT, block_size: int = BLOCK_SIZE_MAX) -> None:
        import lzma

        self._lzma = lzma
        # The kernel's dictionary is one block, at least a metadata block, when no options say otherwise.
        dictionary = max(block_size, METADATA_SIZE)
        self._filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": dictionary}]
        # The standard library does not tell liblzma's version; the interpreter's is the nearest there is.
        self.identity = f"xz-{level}-{dictionary}-{platform.python_version()}"
        self.options = b""

    def compress(self, data: bytes | memoryview) -> bytes | None:
        """See Codec."""
        lzma = self._lzma
        compressed: bytes = lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=self._filters)
        return compressed if len(compressed) < len(data) else None

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """See Codec."""
        decompressor = self._lzma.LZMADecompressor(self._lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        try:
            return _whole(decompressor.decompress(data, limit), decompressor.eof)
        except self._lzma.LZMAError as error:
            raise BuildError(f"its data is corrupt: {error}") from error


class Gzip:
    """One zlib stream a block, with the largest window."""

    name = "gzip"
    LEVELS: Final = range(1, 10)
    DEFAULT: Final = 9

    def __init__(self, level: int = DEFAULT) -> None:
        import zlib

        self._zlib = zlib
        self._level = level
        self.identity = f"gzip-{level}-{zlib.ZLIB_RUNTIME_VERSION}"
        # Level, log2 of the window, strategies: zlib's default one.
        self.options = b"" if level == self.DEFAULT else Struct("<iHH").pack(level, 15, 0)

    def compress(self, data: bytes | memoryview) -> bytes | None:
        """See Codec."""
        compressed = self._zlib.compress(data, self._level)
        return compressed if len(compressed) < len(data) else None

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """See Codec."""
        decompressor = self._zlib.decompressobj()
        try:
            return _whole(decompressor.decompress(data, limit), decompressor.eof)
        except self._zlib.error as error:
            raise BuildError(f"its data is corrupt: {error}") from error


def _whole(data: bytes, ended: bool) -> bytes:
    if not ended:
        raise BuildError("its data is corrupt: it does not end where it should")
    return data


def codec(name: str, level: int, block_size: int) -> Codec:
    """The compressor for writing."""
    if name == "zstd":
        return Zstd(level, block_size)
    if name == "xz":
        return Xz(level, block_size)
    assert name == "gzip"
    return Gzip(level)


def decoder(number: int) -> Codec:
    """The compressor for reading. Raises BuildError for one that we don't have."""
    name = COMPRESSORS.get(number)
    if name == "zstd":
        return Zstd()
    if name == "xz":
        return Xz()
    if name == "gzip":
        return Gzip()
    raise BuildError(
        f"it is compressed with {name or f'the unknown compressor {number}'}; gzip, xz and zstd can be read"
    )


def compressor_id(which: Codec) -> int:
    """Its number in the superblock."""
    return COMPRESSOR_IDS[which.name]
