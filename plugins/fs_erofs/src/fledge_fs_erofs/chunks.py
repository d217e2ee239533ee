"""Sparse files: an address for each chunk of the file, or none where the chunk is a hole."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from fledge.blocks import Extent, Run, copies, data_runs
from fledge.output import Copy
from fledge.tree.content import Content

from fledge_fs_erofs.format import BLOCK_BITS, CHUNK_BITS_MASK, NO_BLOCK

_MAX_INDEX_BITS: Final = 20
"""log2 of the chunks that a file has at most: an index of 4 MiB."""
_ADDRESS: Final = 4
_HOLE: Final = NO_BLOCK.to_bytes(_ADDRESS, "little")


class ChunkedFile:
    """The chunks of a sparse file, those with data next to each other from block `first` of the image."""

    def __init__(self, content: Content, first: int) -> None:
        blocks = -(-content.size >> BLOCK_BITS)
        self.bits, runs = _chunks(content, blocks)
        """log2 of a chunk's blocks, as i_u has it."""
        self.index_size = -(-blocks >> self.bits) * _ADDRESS
        self.end = first
        """The block behind the last one."""
        self._content = content
        self._extents: list[Extent] = []
        for chunk, count in runs:
            start = chunk << self.bits
            length = min(count << self.bits, blocks - start)
            self._extents.append((start, self.end, length))
            self.end += length

    def index(self) -> bytes:
        """The addresses, for behind the inode: `index_size` bytes."""
        parts = []
        size = 0
        for start, address, length in self._extents:
            addresses = range(address, address + length, 1 << self.bits)
            parts.append(_HOLE * ((start >> self.bits) - size))
            parts.append(struct.pack(f"<{len(addresses)}I", *addresses))
            size = (start >> self.bits) + len(addresses)
        parts.append(_HOLE * (self.index_size // _ADDRESS - size))
        return b"".join(parts)

    def copies(self) -> Iterator[Copy]:
        """What is to be copied into the image, by rising offset."""
        return copies(self._content, self._extents, BLOCK_BITS)


def _chunks(content: Content, blocks: int) -> tuple[int, Sequence[Run]]:
    """log2 of the blocks that chunks have, and the runs of chunks that hold data.

    Of all sizes the one with which the index and the chunks take the fewest bytes: small chunks cost in the one, and
    large ones in the other, for what of them is a hole is zeros in the image.
    """
    best: tuple[int, Sequence[Run]] = 0, ()
    least = 1 << 64
    whole = (blocks - 1).bit_length()
    for bits in range(max(whole - _MAX_INDEX_BITS, 0), min(whole, CHUNK_BITS_MASK) + 1):
        runs = data_runs(content, BLOCK_BITS + bits)
        stored = sum(min(count << bits, blocks - (first << bits)) for first, count in runs) << BLOCK_BITS
        if stored >= least:
            break  # Larger chunks take no less.
        size = stored + -(-blocks >> bits) * _ADDRESS
        if size < least:
            least, best = size, (bits, runs)
    return best
