"""The extent tree of an inode: which blocks of a file stand where."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fledge.blocks import Extent, Run

from fledge_fs_ext4.checksum import extend, on_disk
from fledge_fs_ext4.format import (
    BLOCK,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_INDEX,
    EXTENT_MAGIC,
    EXTENT_TAIL,
    EXTENTS_IN_BLOCK,
    EXTENTS_IN_INODE,
    MAX_EXTENT,
)

_SHORTEST_STRETCH = 2048
"""A full inode table's blocks: backups of the superblock, around which data go, are never nearer to each other."""
_MOST_BACKUPS = 25
"""Groups below 2^17 that have one: 0, 1, ten powers of 3, seven of 5 and six of 7."""


def most_tree_blocks(runs: Sequence[Run]) -> int:
    """How many blocks the extent tree of a file with these logical runs takes at most, wherever its data will stand."""
    total = sum(count for _, count in runs)
    crossings = min(total // _SHORTEST_STRETCH + 2, _MOST_BACKUPS)
    count = sum(-(-count // MAX_EXTENT) for _, count in runs) + crossings
    blocks = 0
    while count > EXTENTS_IN_INODE:
        count = -(-count // EXTENTS_IN_BLOCK)
        blocks += count
    return blocks


def root(extents: Sequence[Extent], seed: int, place: Callable[[bytes], int]) -> bytes:
    """What stands in i_block. `seed`: the inode's, for checksums; `place` writes a block and tells where it went."""
    entries = [EXTENT.pack(logical, count, start >> 32, start & 0xFFFFFFFF) for logical, start, count in extents]
    firsts = [logical for logical, _, _ in extents]
    depth = 0
    while len(entries) > EXTENTS_IN_INODE:
        above = []
        for at in range(0, len(entries), EXTENTS_IN_BLOCK):
            block = place(_node(entries[at : at + EXTENTS_IN_BLOCK], depth, seed))
            above.append(EXTENT_INDEX.pack(firsts[at], block & 0xFFFFFFFF, block >> 32, 0))
        firsts = firsts[::EXTENTS_IN_BLOCK]
        entries = above
        depth += 1
    return EXTENT_HEADER.pack(EXTENT_MAGIC, len(entries), EXTENTS_IN_INODE, depth, 0) + b"".join(entries)


def _node(entries: Sequence[bytes], depth: int, seed: int) -> bytes:
    body = EXTENT_HEADER.pack(EXTENT_MAGIC, len(entries), EXTENTS_IN_BLOCK, depth, 0) + b"".join(entries)
    body = body.ljust(BLOCK - EXTENT_TAIL.size, b"\0")
    return body + EXTENT_TAIL.pack(on_disk(extend(seed, body)))
