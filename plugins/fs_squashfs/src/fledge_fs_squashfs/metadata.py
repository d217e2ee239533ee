"""Tables of metadata blocks: inodes, directories, and the flat tables behind them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future
from itertools import accumulate
from typing import Final

from fledge_fs_squashfs.compress import Codec
from fledge_fs_squashfs.format import METADATA_HEADER, METADATA_RAW, METADATA_SIZE, U64

_SHIFT: Final = METADATA_SIZE.bit_length() - 1
_MASK: Final = METADATA_SIZE - 1


def metadata_block(codec: Codec, data: bytes) -> bytes:
    """One block with its header, compressed where that makes it smaller."""
    compressed = codec.compress(data)
    if compressed is not None:
        return METADATA_HEADER.pack(len(compressed)) + compressed
    return raw_metadata_block(data)


def raw_metadata_block(data: bytes) -> bytes:
    """One block with its header, as it is."""
    return METADATA_HEADER.pack(METADATA_RAW | len(data)) + data


class MetadataTable:
    """A growing run of metadata blocks, which are compressed by the pool.

    What is appended has a position, in bytes before compression. A reference, which is what the format stores, needs
    to know where the blocks before begin after compression; `settle` waits for that.
    """

    def __init__(self, pool: Executor, codec: Codec) -> None:
        self._pool = pool
        self._codec = codec
        self._buffer = bytearray()
        self._flushed = 0
        self._pending: list[Future[bytes]] = []
        self._blocks: list[bytes] = []
        self._starts = [0]

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self._flushed + len(self._buffer)

    def append(self, data: bytes | bytearray) -> None:
        """Adds bytes; they may span blocks."""
        buffer = self._buffer
        buffer += data
        if len(buffer) >= METADATA_SIZE:
            full = len(buffer) & ~_MASK
            for start in range(0, full, METADATA_SIZE):
                self._submit(bytes(buffer[start : start + METADATA_SIZE]))
            del buffer[:full]
            self._flushed += full

    def settle(self) -> None:
        """Makes references to everything appended so far possible."""
        for future in self._pending:
            block = future.result()
            self._blocks.append(block)
            self._starts.append(self._starts[-1] + len(block))
        self._pending.clear()

    def references(self, positions: Iterable[int]) -> list[int]:
        """References of settled positions: the block's start in the table << 16 | the offset in the block."""
        starts = self._starts
        return [starts[position >> _SHIFT] << 16 | position & _MASK for position in positions]

    def reference(self, position: int) -> int:
        """The reference of one settled position."""
        return self._starts[position >> _SHIFT] << 16 | position & _MASK

    def finish(self) -> list[bytes]:
        """All blocks, the last one as short as it is."""
        if self._buffer:
            self._submit(bytes(self._buffer))
            self._flushed += len(self._buffer)
            self._buffer.clear()
        self.settle()
        return self._blocks

    def _submit(self, data: bytes) -> None:
        self._pending.append(self._pool.submit(metadata_block, self._codec, data))


def flat_table(pool: Executor, codec: Codec, data: bytes) -> tuple[list[bytes], list[int]]:
    """A table that is found by index: its blocks, and where each one starts in it."""
    table = MetadataTable(pool, codec)
    table.append(data)
    blocks = table.finish()
    return blocks, [0, *accumulate(map(len, blocks))][: len(blocks)]


def pointers(starts: Iterable[int], offset: int) -> bytes:
    """The list of block starts that stands behind a flat table, absolute."""
    return b"".join(U64.pack(offset + start) for start in starts)
