"""How large the filesystem is, and where its fixed parts stand.

All bitmaps and inode tables stand together at the front (flex_bg allows that), so that the image is written in
rising order and the contents follow without gaps but for the backups of the superblock.
"""

from __future__ import annotations

from dataclasses import dataclass

from fledge.blocks import Allocator, Run
from fledge.errors import BuildError

from fledge_fs_ext4.extents import most_tree_blocks
from fledge_fs_ext4.format import BLOCK, DESCRIPTORS_PER_BLOCK, INODES_PER_BLOCK, MAX_PER_GROUP

MAX_BLOCKS = (1 << 32) - 1
"""With a resize inode, whose map has 32 bits for a block."""
_GROWTH = 1024
"""The descriptor blocks are reserved for a filesystem so many times larger, as mke2fs does."""
_MAX_RESERVED = BLOCK // 4
"""The resize inode's doubly indirect block has an entry for each."""
_SMALLEST_LAST_GROUP = 64
_JOURNALS = (
    # blocks of the filesystem below which the journal has so many blocks: mke2fs's table
    (32_768, 1_024),
    (262_144, 4_096),
    (524_288, 8_192),
    (4_194_304, 16_384),
    (8_388_608, 32_768),
    (16_777_216, 65_536),
)
_LARGEST_JOURNAL = 262_144
_KERNEL_RESERVE = 4_096
"""ext4 keeps a fiftieth of the blocks, at most so many, for itself; files can't have them (fs/ext4/super.c)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes, in blocks unless they say otherwise."""

    blocks: int
    blocks_per_group: int
    groups: int
    inodes_per_group: int
    descriptor_blocks: int
    reserved_descriptor_blocks: int
    journal_blocks: int
    backups: tuple[int, ...]
    """Groups that begin with a superblock and descriptors; the first is 0."""
    block_bitmaps: tuple[int, ...]
    inode_bitmaps: tuple[int, ...]
    inode_tables: tuple[int, ...]
    fixed: tuple[Run, ...]
    """The superblocks, descriptors and reserved descriptors."""
    tables: tuple[Run, ...]
    """What the bitmaps and inode tables take."""
    first_free: int

    @property
    def inode_table_blocks(self) -> int:
        """Blocks of one group's inode table."""
        return self.inodes_per_group // INODES_PER_BLOCK

    @property
    def inodes(self) -> int:
        """All inodes, used and free."""
        return self.inodes_per_group * self.groups


def plan(content: int, inodes: int, free: int, *, journal: bool) -> Geometry:
    """The smallest filesystem that holds `content` blocks and leaves `free` blocks for files.

    `inodes`: how many there must be, used and free. Raises BuildError when it would have 2^32 blocks or more.
    """
    blocks = max(content + free, 1)
    while True:
        geometry, needed = _attempt(blocks, content, inodes, free, journal=journal)
        if needed == blocks:
            return geometry
        if needed > MAX_BLOCKS:
            raise BuildError(
                f"the ext4 image would have {needed * BLOCK} bytes; at most {MAX_BLOCKS * BLOCK} are possible"
            )
        blocks = needed


def _attempt(blocks: int, content: int, inodes: int, free: int, *, journal: bool) -> tuple[Geometry, int]:
    """The geometry of a filesystem of `blocks`, and how many it ought to have; never fewer."""
    per_group = MAX_PER_GROUP
    for_inodes = _ceil(inodes, MAX_PER_GROUP)
    if for_inodes > _ceil(blocks, per_group):
        # Many inodes of little content: smaller groups, or the size would follow from the number of inodes.
        per_group = _ceil(_ceil(blocks, for_inodes), 8) * 8
    groups = max(1, _ceil(blocks, per_group))
    inodes_per_group = _ceil(_ceil(inodes, groups), INODES_PER_BLOCK) * INODES_PER_BLOCK
    table = inodes_per_group // INODES_PER_BLOCK
    descriptors = _ceil(groups, DESCRIPTORS_PER_BLOCK)
    largest = _ceil(_ceil(min(blocks * _GROWTH, MAX_BLOCKS), per_group), DESCRIPTORS_PER_BLOCK)
    reserved = min(largest - descriptors, _MAX_RESERVED)
    head = 1 + descriptors + reserved
    backups = tuple(group for group in range(groups) if has_backup(group))
    fixed = tuple((group * per_group, head) for group in backups)

    allocator = Allocator(0, fixed)
    block_bitmaps = tuple(allocator.take_whole(1) for _ in range(groups))
    inode_bitmaps = tuple(allocator.take_whole(1) for _ in range(groups))
    tables = tuple(allocator.take_whole(table) for _ in range(groups))
    journal_blocks = _journal_size(blocks) if journal else 0
    geometry = Geometry(
        blocks=blocks,
        blocks_per_group=per_group,
        groups=groups,
        inodes_per_group=inodes_per_group,
        descriptor_blocks=descriptors,
        reserved_descriptor_blocks=reserved,
        journal_blocks=journal_blocks,
        backups=backups,
        block_bitmaps=block_bitmaps,
        inode_bitmaps=inode_bitmaps,
        inode_tables=tables,
        fixed=fixed,
        tables=tuple(allocator.used()),
        first_free=allocator.cursor,
    )
    inside = 1 + journal_blocks + most_tree_blocks([(0, journal_blocks)]) + content
    needed = head * len(backups) + groups * (2 + table) + inside + free + min(blocks // 50, _KERNEL_RESERVE)
    needed = max(needed, allocator.ahead(inside).cursor, blocks)
    last, rest = divmod(needed, per_group)
    smallest = _SMALLEST_LAST_GROUP + (head if has_backup(last) else 0)
    if rest and rest < smallest:
        needed += smallest - rest
    return geometry, needed


def has_backup(group: int) -> bool:
    """sparse_super: groups 0, 1 and the powers of 3, 5 and 7."""
    if group <= 1:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def _journal_size(blocks: int) -> int:
    return next((size for below, size in _JOURNALS if blocks < below), _LARGEST_JOURNAL)


def _ceil(count: int, size: int) -> int:
    return -(-count // size)
