"""The compressors: zstd, xz and gzip, each in the form that the kernel's decompressor takes."""

from __future__ import annotations

import threading
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from fledge.errors import BuildError

from fledge_fs_squashfs.format import BLOCK_SIZE_MAX, COMPRESSOR_IDS, COMPRESSORS, METADATA_SIZE

if TYPE_CHECKING:
    import zstandard


_XZ_MEMORY: Final = 64 << 20


class Codec(Protocol):
    """Compresses and decompresses one block at a time, from several threads at once."""

    name: str
    identity: str
    """Everything that decides the compressed bytes beside the input: codec, level, library version."""
    options: bytes
    """The compressor options of the superblock; empty where they are the defaults."""

    def compress(self, data: bytes | memoryview) -> bytes:
        """One block."""

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """One block, which must not have more than `limit` bytes. Raises BuildError when it is corrupt."""


class Zstd:
    """Frames with their content size and without a checksum, as the kernel's one-shot decompression has them.

    A frame of a block never needs a window larger than the block, which is what the kernel has memory for.
    """

    name = "zstd"
    LEVELS: Final = range(1, 23)
    DEFAULT: Final = 15
    """What mksquashfs takes; options are stored only for another level."""

    def __init__(self, level: int = DEFAULT) -> None:
        import zstandard

        self._zstandard = zstandard
        self._level = level
        self._local = threading.local()  # A context serves one thread at a time.
        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        self.identity = f"zstd-{level}-{version}"
        self.options = b"" if level == self.DEFAULT else Struct("<i").pack(level)

    def compress(self, data: bytes | memoryview) -> bytes:
        """See Codec."""
        compressor: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = self._zstandard.ZstdCompressor(self._level)
        return compressor.compress(data)

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """See Codec."""
        decompressor: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if decompressor is None:
            decompressor = self._local.decompressor = self._zstandard.ZstdDecompressor(max_window_size=BLOCK_SIZE_MAX)
        try:
            # The frame's own size is the allocation that it asks for, so it is looked at first.
            size = self._zstandard.frame_content_size(data)
            if size > limit:
                raise BuildError(f"its data is corrupt: it claims {size} bytes, more than {limit}")
            return decompressor.decompress(data, max_output_size=limit)
        except self._zstandard.ZstdError as error:
            raise BuildError(f"its data is corrupt: {error}") from error


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
        import sys

        self.identity = f"xz-{level}-{dictionary}-{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
        self.options = b""

    def compress(self, data: bytes | memoryview) -> bytes:
        """See Codec."""
        lzma = self._lzma
        compressed: bytes = lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=self._filters)
        return compressed

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

    def compress(self, data: bytes | memoryview) -> bytes:
        """See Codec."""
        return self._zlib.compress(data, self._level)

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
        return Zstd(level)
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
