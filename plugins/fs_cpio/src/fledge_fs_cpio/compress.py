"""A stream of bytes into the artifact, compressed on the way; memory does not grow with the stream.

The kernel calls its decompressor once and takes what follows for another archive, so gzip's output is one member and
zstd's one frame (init/initramfs.c, unpack_to_rootfs; lib/decompress_unzstd.c).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

from fledge.output import ArtifactFile

from fledge_fs_cpio.options import Compression

BLOCK: Final = 1 << 20
"""Bytes that gzip's threads compress at once. Part of the output's definition: another size gives other bytes."""

_WINDOW: Final = 32 << 10
"""How far back a match of deflate reaches (RFC 1951 section 2)."""

_MEMORY: Final = 6
"""zlib's memLevel: how many symbols share one Huffman code. Trees of small files compress 1 % better than at 8."""

_ZSTD_THREADS: Final = 4
"""At most: each holds tens of megabytes."""

# RFC 1952 section 2.3: deflate, no flags (the kernel knows no other than a name), no time, nothing said of the effort,
# Unix.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\0" + bytes(4) + b"\0\x03"


class Sink(Protocol):
    """Where the archive goes."""

    def write(self, data: bytes | memoryview) -> None:
        """Takes `data`, which may change afterwards."""

    def close(self) -> int:
        """Everything is in the artifact; the bytes that it has."""


def sink(
    target: ArtifactFile, compression: Compression, level: int, size: int, pool: ThreadPoolExecutor, jobs: int
) -> Sink:
    """`size`: bytes that will be written. `pool` has `jobs` threads, whose number never changes the output."""
    if compression == "gzip":
        return _Gzip(target, level, pool, jobs)
    if compression == "zstd":
        return _Zstd(target, level, size, jobs)
    return _Plain(target)


class _Plain:
    """Uncompressed; also what the compressors write into."""

    def __init__(self, target: ArtifactFile) -> None:
        self._target = target
        self._buffer = bytearray()
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        self._buffer += data
        if len(self._buffer) >= BLOCK:
            self._flush()

    def close(self) -> int:
        self._flush()
        return self._written

    def _flush(self) -> None:
        self._target.write(self._written, self._buffer)
        self._written += len(self._buffer)
        self._target.settled(self._written)
        self._buffer.clear()


class _Gzip:
    """One deflate stream out of blocks that threads compress side by side.

    Each block knows the window before it, and all but the last end with an empty stored block (Z_SYNC_FLUSH), which
    brings them to a byte's boundary, so that the next can follow. zlib-ng comes with its wheel: what Python's zlib
    module writes depends on the system's library.
    """

    def __init__(self, target: ArtifactFile, level: int, pool: ThreadPoolExecutor, jobs: int) -> None:
        self._out = _Plain(target)
        self._level = level
        self._pool = pool
        self._jobs = jobs
        self._pending: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
        self._buffer = bytearray()
        self._window = b""
        self._checksum = 0
        self._size = 0
        self._out.write(_GZIP_HEADER)

    def write(self, data: bytes | memoryview) -> None:
        buffer = self._buffer
        buffer += data
        if len(buffer) >= BLOCK:
            for start in range(0, len(buffer) - BLOCK + 1, BLOCK):
                self._submit(bytes(buffer[start : start + BLOCK]))
            del buffer[: len(buffer) // BLOCK * BLOCK]

    def close(self) -> int:
        self._submit(bytes(self._buffer), last=True)
        while self._pending:
            self._take()
        self._out.write(self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))
        return self._out.close()

    def _submit(self, block: bytes, last: bool = False) -> None:
        if len(self._pending) > self._jobs:
            self._take()
        future = self._pool.submit(_deflate, block, self._window, self._level, last)
        self._pending.append((len(block), future))
        self._window = block[-_WINDOW:]

    def _take(self) -> None:
        from zlib_ng import zlib_ng

        size, future = self._pending.popleft()
        compressed, checksum = future.result()
        self._checksum = zlib_ng.crc32_combine(self._checksum, checksum, size)
        self._size += size
        self._out.write(compressed)


def _deflate(block: bytes, window: bytes, level: int, last: bool) -> tuple[bytes, int]:
    """A part of a raw deflate stream, and the block's CRC-32."""
    from zlib_ng import zlib_ng

    compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS, _MEMORY, zdict=window)
    compressed = compressor.compress(block)
    end = compressor.flush(zlib_ng.Z_FINISH if last else zlib_ng.Z_SYNC_FLUSH)
    return compressed + end, zlib_ng.crc32(block)


class _Zstd:
    """One frame, with its size and a checksum, by libzstd's own threads.

    There is always at least one, since with none libzstd would cut the frame otherwise.
    """

    def __init__(self, target: ArtifactFile, level: int, size: int, jobs: int) -> None:
        import zstandard

        self._out = _Plain(target)
        compressor = zstandard.ZstdCompressor(level, threads=min(jobs, _ZSTD_THREADS), write_checksum=True)
        self._compressor = compressor.compressobj(size)
        self._buffer = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self._buffer += data
        if len(self._buffer) >= BLOCK:
            self._out.write(self._compressor.compress(self._buffer))
            self._buffer.clear()

    def close(self) -> int:
        self._out.write(self._compressor.compress(self._buffer))
        self._out.write(self._compressor.flush())
        return self._out.close()
