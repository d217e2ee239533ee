"""Sparse files: an address for each chunk of the file, or none where the chunk is a hole."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from fledge.blocks import data_runs
from fledge.output import Copy
from fledge.tree.content import Content

from fledge_fs_erofs.format import BLOCK_BITS, NO_BLOCK

_MAX_INDEX_BITS: Final = 20
"""log2 of the chunks that a file has at most: an index of 4 MiB. Holes of files over 4 GiB are kept in larger units."""


class ChunkedFile:
    """The chunks of a sparse file, those with data next to each other from block `first` of the image."""

    def __init__(self, content: Content, first: int) -> None:
        self._content = content
        blocks = -(-content.size >> BLOCK_BITS)
        runs = data_runs(content, BLOCK_BITS)
        self.bits = _chunk_bits(runs, blocks)
        """log2 of a chunk's blocks, as i_u has it."""
        chunk = 1 << self.bits
        self._addresses = [NO_BLOCK] * -(-blocks >> self.bits)
        self.end = first
        """The block behind the last one."""
        for start, count in runs:
            for index in range(start >> self.bits, (start + count - 1 >> self.bits) + 1):
                if self._addresses[index] == NO_BLOCK:
                    self._addresses[index] = self.end
                    self.end += min(chunk, blocks - (index << self.bits))

    def index(self) -> bytes:
        """The addresses, for behind the inode."""
        return struct.pack(f"<{len(self._addresses)}I", *self._addresses)

    def copies(self) -> Iterator[Copy]:
        """What is to be copied into the image, by rising offset."""
        bits = self.bits + BLOCK_BITS
        for piece in self._content.pieces:
            offset, start, end = piece.offset, piece.start, piece.offset + piece.length
            while offset < end:
                index = offset >> bits
                length = min(end, index + 1 << bits) - offset
                yield (self._addresses[index] << BLOCK_BITS) + offset - (index << bits), piece.source, start, length
                offset += length
                start += length


def _chunk_bits(runs: list[tuple[int, int]], blocks: int) -> int:
    """As large as chunks may be for every hole to be one in the image."""
    edges = 0
    for first, count in runs:
        edges |= first
        if first + count < blocks:
            edges |= first + count
    whole = (blocks - 1).bit_length()
    exact = (edges & -edges).bit_length() - 1 if edges else whole
    return max(exact, whole - _MAX_INDEX_BITS)
