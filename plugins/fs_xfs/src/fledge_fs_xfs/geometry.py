"""How large the filesystem is, how it is divided, and where its fixed parts and its inodes stand.

All inodes stand at the front, so that the image is written in rising order: inodes, other metadata, contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fledge.blocks import Allocator, Run
from fledge.errors import BuildError

from fledge_fs_xfs.btree import levels
from fledge_fs_xfs.format import (
    BLOCK,
    CHUNK_BLOCKS,
    CHUNK_INODES,
    INOBT_LEAF_RECORDS,
    INODES_PER_BLOCK,
    INODES_PER_BLOCK_BITS,
    MAX_LOG_SIZE,
    REFCOUNT_LEAF_RECORDS,
    SHORT_NODE_RECORDS,
)

BNO_ROOT, CNT_ROOT, INO_ROOT, FINO_ROOT, REFCOUNT_ROOT, FREE_LIST = 1, 2, 3, 4, 5, 6
"""Blocks of each group: the roots of its B+trees, and the first of those kept for their growth."""
FREE_LIST_BLOCKS = 4
"""As many as the kernel wants for two free space trees of one level (xfs_alloc_min_freelist)."""
HEAD = FREE_LIST + FREE_LIST_BLOCKS
FIRST_CHUNK = -(-HEAD // CHUNK_BLOCKS) * CHUNK_BLOCKS
"""Chunks of inodes are aligned; the root inode is expected in the first one that is possible."""

SMALLEST = 300 << 20 >> 12
"""mkfs.xfs refuses less than 300 MiB from 5.19 on: nobody tries smaller filesystems any more."""
_GROUPS = 4
"""As mkfs.xfs divides a disk: for parallel allocation, and xfs_repair wants two superblocks at least."""
_MAX_GROUP = (1 << 28) - 1
"""Just below 1 TiB."""
_MAX_BLOCKS = 1 << 40
"""4 PiB: far more than any disk."""
_LOG_SHARE = 2048
_LEAST_LOG = 64 << 20 >> 12
_MOST_LOG = MAX_LOG_SIZE >> 12
"""mkfs.xfs: 1/2048 of the filesystem, 64 MiB to a little less than 2 GiB."""
_KERNEL_SHARE = 20
_KERNEL_MOST = 8192
"""The kernel keeps a twentieth, at most so many blocks, for itself (xfs_default_resblks in fs/xfs/xfs_mount.c)."""
_SET_ASIDE = 8
"""Blocks of each group that the kernel never gives to files (xfs_alloc_set_aside)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes, in blocks unless they say otherwise."""

    blocks: int
    group_blocks: int
    groups: int
    log_blocks: int
    chunks: tuple[Run, ...]
    """Of each group: where its chunks of inodes begin, in blocks of the group, and how many chunks there are."""

    @property
    def group_bits(self) -> int:
        """sb_agblklog: bits for a block of a group in a block number of the filesystem."""
        return (self.group_blocks - 1).bit_length()

    @property
    def log_group(self) -> int:
        """The group that holds the log, behind its head: the middle one, as mkfs.xfs does it."""
        return self.groups // 2

    @property
    def log_start(self) -> int:
        """The log's first block, counted through all groups."""
        return self.log_group * self.group_blocks + HEAD

    def address(self, block: int) -> int:
        """The filesystem's number for a block that is counted through all groups."""
        group, at = divmod(block, self.group_blocks)
        return group << self.group_bits | at

    def inode_numbers(self) -> Iterator[int]:
        """The numbers of all inodes, those that stay free among them."""
        bits = self.group_bits + INODES_PER_BLOCK_BITS
        for group, (start, chunks) in enumerate(self.chunks):
            first = group << bits | start << INODES_PER_BLOCK_BITS
            yield from range(first, first + chunks * CHUNK_INODES)

    def tree_blocks(self, group: int) -> range:
        """Blocks of the group, behind its inodes, for what their B+tree takes beside its root."""
        start, chunks = self.chunks[group]
        first = start + chunks * CHUNK_BLOCKS
        return range(first, first + _tree_blocks(chunks))

    def fixed(self) -> list[Run]:
        """What stands in each group apart from contents: its head, the log, inodes and their B+tree."""
        runs = []
        for group, (_, chunks) in enumerate(self.chunks):
            first = group * self.group_blocks
            head = HEAD + (self.log_blocks if group == self.log_group else 0)
            runs.append((first, head))
            if chunks:
                start = self.chunks[group][0]
                runs.append((first + start, self.tree_blocks(group).stop - start))
        return runs

    def allocator(self) -> Allocator:
        """Hands out what is left, but for a reserve at the end of each group.

        Each group begins with a fixed run, so no run that is handed out crosses the border of two groups.
        """
        fixed = self.fixed()
        for group in range(self.groups):
            reserve = self.reserve(group)
            fixed.append(((group + 1) * self.group_blocks - reserve, reserve))
        last = max((group for group, (_, chunks) in enumerate(self.chunks) if chunks), default=0)
        return Allocator(last * self.group_blocks + self.tree_blocks(last).stop, sorted(fixed))

    def reserve(self, group: int) -> int:
        """Blocks that a group keeps free.

        The kernel reserves them for the growth of two B+trees when it mounts (xfs_ag_resv_init): a group whose trees
        can't grow can't have inodes freed. They must be free in that very group.
        """
        usable = self.group_blocks - (self.log_blocks if group == self.log_group else 0)
        inodes = _most_tree_blocks(usable * INODES_PER_BLOCK // CHUNK_INODES, INOBT_LEAF_RECORDS)
        return inodes + _most_tree_blocks(usable, REFCOUNT_LEAF_RECORDS) + _SET_ASIDE


def plan(inodes: int, content: int, free: int) -> Geometry:
    """The smallest filesystem that holds `inodes` and `content` blocks and leaves `free` blocks for files.

    Raises BuildError when it would be larger than 4 PiB.
    """
    chunks = -(-inodes // CHUNK_INODES)
    blocks = max(SMALLEST, content + free)
    while blocks <= _MAX_BLOCKS:
        geometry, needed = _attempt(blocks, chunks, content, free)
        if needed <= geometry.blocks:
            return geometry
        blocks = needed
    raise BuildError(
        f"the xfs image would have {blocks * BLOCK} bytes; at most {_MAX_BLOCKS * BLOCK} are possible",
        hint="lower [filesystem] size_buffer_mb",
    )


def _attempt(blocks: int, chunks: int, content: int, free: int) -> tuple[Geometry, int]:
    """The geometry of a filesystem of `blocks` or a few more, and how many it ought to have."""
    groups = max(_GROUPS, -(-blocks // _MAX_GROUP))
    group_blocks = -(-blocks // groups)
    log_blocks = min(max(blocks // _LOG_SHARE, _LEAST_LOG), _MOST_LOG)
    empty = Geometry(groups * group_blocks, group_blocks, groups, log_blocks, ((FIRST_CHUNK, 0),) * groups)
    placed = []
    left = chunks
    for group in range(groups):
        start = FIRST_CHUNK
        if group == empty.log_group:
            start = -(-(HEAD + log_blocks) // CHUNK_BLOCKS) * CHUNK_BLOCKS
        room = group_blocks - empty.reserve(group) - start
        count = min(left, max(room, 0) // CHUNK_BLOCKS)
        while count and count * CHUNK_BLOCKS + _tree_blocks(count) > room:
            count -= 1
        placed.append((start, count))
        left -= count
    geometry = Geometry(empty.blocks, group_blocks, groups, log_blocks, tuple(placed))
    reserves = sum(geometry.reserve(group) for group in range(groups))
    used = sum(length for _, length in geometry.fixed()) + content + left * CHUNK_BLOCKS
    needed = used + free + reserves + min(geometry.blocks // _KERNEL_SHARE, _KERNEL_MOST)
    return geometry, max(needed, geometry.allocator().ahead(content).cursor)


def _tree_blocks(chunks: int) -> int:
    """Blocks beside the root of a B+tree of so many chunks."""
    return sum(levels(chunks, INOBT_LEAF_RECORDS, SHORT_NODE_RECORDS, INOBT_LEAF_RECORDS, SHORT_NODE_RECORDS))


def _most_tree_blocks(records: int, in_leaf: int) -> int:
    """Blocks of a B+tree whose blocks are half full (xfs_btree_calc_size)."""
    level = -(-records // (in_leaf // 2))
    total = level
    while level > 1:
        level = -(-level // (SHORT_NODE_RECORDS // 2))
        total += level
    return total
