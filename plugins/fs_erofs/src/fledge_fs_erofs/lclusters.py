"""The index of a compressed file: which pcluster holds which of its blocks (COMPRESSED_FULL)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from fledge_fs_erofs.format import (
    ADVISE_BIG_PCLUSTER,
    ADVISE_INLINE_PCLUSTER,
    ALGORITHM_LZ4,
    BLOCK,
    BLOCK_COUNT,
    FULL_INDEX_PADDING,
    HEAD,
    INDEX_ALIGN,
    LCLUSTER_HEAD,
    LCLUSTER_NONHEAD,
    MAP_HEADER,
    NONHEAD,
    PLAIN,
)


def index_size(size: int, head: int) -> int:
    """Bytes of the index of a file of `size` bytes. `head`: those that the inode and its xattrs take."""
    lclusters = -(-size // BLOCK)
    return -head % INDEX_ALIGN + MAP_HEADER.size + FULL_INDEX_PADDING + lclusters * LCLUSTER_HEAD.size


class Index:
    """The extents, as they are added from the front of the file. All begin where an lcluster does."""

    def __init__(self) -> None:
        self._extents: list[tuple[int, int, int]] = []
        self.compressed = False
        """Whether there is an extent that is."""

    def add_compressed(self, length: int, first: int, blocks: int) -> None:
        """An extent of `length` bytes in `blocks` blocks from `first` on; `blocks` is 1 for what is inline."""
        self.compressed = True
        self._extents.append((length, first, blocks))

    def add_plain(self, length: int, first: int) -> None:
        """An extent for each block of `length` bytes."""
        self._extents.append((length, first, 0))

    def encode(self, head: int, inline: int) -> bytes:
        """What follows the xattrs. `head`: as for index_size; `inline`: bytes of the last extent, if it is inline."""
        advise = ADVISE_BIG_PCLUSTER | (ADVISE_INLINE_PCLUSTER if inline else 0)
        header = MAP_HEADER.pack(inline, advise, ALGORITHM_LZ4, 0)
        parts = [bytes(-head % INDEX_ALIGN), header, bytes(FULL_INDEX_PADDING)]
        for length, first, blocks in self._extents:
            lclusters = -(-length // BLOCK)
            if not blocks:
                parts += [LCLUSTER_HEAD.pack(PLAIN, 0, block) for block in range(first, first + lclusters)]
                continue
            parts.append(LCLUSTER_HEAD.pack(HEAD, 0, first))
            if lclusters > 1:
                parts.append(LCLUSTER_NONHEAD.pack(NONHEAD, BLOCK_COUNT | blocks, lclusters - 1))
                parts.append(_further(lclusters))
        return b"".join(parts)


@cache
def _further(lclusters: int) -> bytes:
    """The entries of an extent of so many, from the third one on."""
    return b"".join([LCLUSTER_NONHEAD.pack(NONHEAD, back, lclusters - back) for back in range(2, lclusters)])


class Lcluster(NamedTuple):
    """An entry as it is read."""

    kind: int
    inside: int
    """Where in it an extent begins; of NONHEAD, how many blocks the pcluster has, or 0 if it does not say so."""
    block: int


def decode(index: bytes) -> Iterator[Lcluster]:
    """The entries, without what stands in front of them."""
    for kind, inside, block in LCLUSTER_HEAD.iter_unpack(index):
        kind &= 3
        yield Lcluster(kind, block_count(block & 0xFFFF) if kind == NONHEAD else inside, block)


def block_count(back: int) -> int:
    """What the first field of a NONHEAD says of its pcluster's blocks; 0: nothing."""
    return back & ~BLOCK_COUNT if back & BLOCK_COUNT else 0
