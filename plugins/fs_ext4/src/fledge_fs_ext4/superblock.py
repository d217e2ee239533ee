"""What describes the filesystem: superblock, group descriptors, bitmaps, and the resize inode's map."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from fledge.blocks import Run
from fledge.output import ImageFile

from fledge_fs_ext4.checksum import extend, on_disk
from fledge_fs_ext4.format import (
    BLOCK,
    BLOCK_BITS,
    CHECKSUM_CRC32C,
    COMPAT_DIR_INDEX,
    COMPAT_EXT_ATTR,
    COMPAT_HAS_JOURNAL,
    COMPAT_RESIZE_INODE,
    DESCRIPTOR,
    DESCRIPTOR_CHECKSUM,
    ERRORS_CONTINUE,
    FIRST_INO,
    FLAGS_UNSIGNED_HASH,
    GROUP_INODE_ZEROED,
    HASH_HALF_MD4,
    INCOMPAT_64BIT,
    INCOMPAT_CSUM_SEED,
    INCOMPAT_EXTENTS,
    INCOMPAT_FILETYPE,
    INCOMPAT_FLEX_BG,
    INODE_EXTRA,
    INODE_SIZE,
    JOURNAL_BACKUP_BLOCKS,
    JOURNAL_INO,
    MAGIC,
    MOUNT_ACL,
    MOUNT_XATTR_USER,
    NO_MOUNT_LIMIT,
    REVISION_DYNAMIC,
    RO_COMPAT_DIR_NLINK,
    RO_COMPAT_EXTRA_ISIZE,
    RO_COMPAT_HUGE_FILE,
    RO_COMPAT_LARGE_FILE,
    RO_COMPAT_METADATA_CSUM,
    RO_COMPAT_SPARSE_SUPER,
    STATE_CLEAN,
    SUPERBLOCK,
    SUPERBLOCK_CHECKSUM,
    SUPERBLOCK_OFFSET,
)
from fledge_fs_ext4.geometry import Geometry

_LOG_GROUPS_PER_FLEX = 4
"""16 groups share an allocation policy, as mke2fs sets it; where the tables stand does not depend on it."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the superblock and the descriptors say. `time`: seconds, for all times of the filesystem itself."""

    geometry: Geometry
    uuid: bytes
    hash_seed: bytes
    checksum_seed: int
    time: int
    used: Sequence[Run]
    """All blocks in use, without overlap."""
    inodes: int
    """The inodes in use are those up to this number."""
    directories: Sequence[int]
    """How many each group has."""
    journal_map: bytes | None
    """i_block and the size of the journal's inode, for recovery; None without a journal."""


def write(target: ImageFile, described: Description) -> None:
    """Writes the bitmaps, the descriptors and the superblock, with all backups."""
    geometry = described.geometry
    free_blocks = 0
    descriptors = []
    for group in range(geometry.groups):
        blocks, free = _block_bitmap(described, group)
        inodes = _inode_bitmap(described, group)
        target.write(geometry.block_bitmaps[group] << BLOCK_BITS, blocks)
        target.write(geometry.inode_bitmaps[group] << BLOCK_BITS, inodes)
        descriptors.append(_descriptor(described, group, blocks, inodes, free))
        free_blocks += free
    table = b"".join(descriptors)
    for group in geometry.backups:
        start = group * geometry.blocks_per_group << BLOCK_BITS
        superblock = _superblock(described, group, free_blocks)
        target.write(start + (0 if group else SUPERBLOCK_OFFSET), superblock)
        target.write(start + BLOCK, table)


def resize_map(geometry: Geometry, doubly: int) -> tuple[int, list[tuple[int, bytes]]]:
    """The resize inode's blocks: (how many, [(block, data)]); the first one is its doubly indirect block.

    It lists the reserved descriptor blocks behind the primary superblock, and each of these lists its own
    copies behind the backups. `doubly`: where the doubly indirect block stands.
    """
    indirect: dict[int, int] = {}
    blocks = []
    copies = geometry.backups[1:]
    for at in range(geometry.reserved_descriptor_blocks):
        block = 1 + geometry.descriptor_blocks + at
        indirect[block - 1] = block
        backups = [block + group * geometry.blocks_per_group for group in copies]
        blocks.append((block, struct.pack(f"<{len(backups)}I", *backups)))
    words = [0] * (BLOCK // 4)
    for slot, block in indirect.items():
        words[slot % len(words)] = block
    count = 1 + geometry.reserved_descriptor_blocks * len(geometry.backups)
    return count, [(doubly, struct.pack(f"<{len(words)}I", *words)), *blocks]


def _block_bitmap(described: Description, group: int) -> tuple[bytes, int]:
    """The group's bitmap, and how many of its blocks are free."""
    geometry = described.geometry
    first = group * geometry.blocks_per_group
    count = min(geometry.blocks_per_group, geometry.blocks - first)
    free = count
    bits = 0
    for start, length in described.used:
        low = max(start, first) - first
        high = min(start + length, first + count) - first
        if low < high:
            bits |= (1 << high) - (1 << low)
            free -= high - low
    return _bitmap(bits, count), free


def _inode_bitmap(described: Description, group: int) -> bytes:
    per_group = described.geometry.inodes_per_group
    used = min(max(described.inodes - group * per_group, 0), per_group)
    return _bitmap((1 << used) - 1, per_group)


def _bitmap(bits: int, count: int) -> bytes:
    """A bitmap's block; the bits beyond `count` stand for nothing and are set."""
    return (bits | (1 << 8 * BLOCK) - (1 << count)).to_bytes(BLOCK, "little")


def _descriptor(described: Description, group: int, blocks: bytes, inodes: bytes, free: int) -> bytes:
    geometry = described.geometry
    seed = described.checksum_seed
    per_group = geometry.inodes_per_group
    free_inodes = per_group - min(max(described.inodes - group * per_group, 0), per_group)
    block_checksum = on_disk(extend(seed, blocks[: geometry.blocks_per_group // 8]))
    inode_checksum = on_disk(extend(seed, inodes[: per_group // 8]))
    record = DESCRIPTOR.pack(
        bg_block_bitmap_lo=geometry.block_bitmaps[group],
        bg_inode_bitmap_lo=geometry.inode_bitmaps[group],
        bg_inode_table_lo=geometry.inode_tables[group],
        bg_free_blocks_count_lo=free,
        bg_free_inodes_count_lo=free_inodes,
        bg_used_dirs_count_lo=described.directories[group],
        bg_flags=GROUP_INODE_ZEROED,
        bg_block_bitmap_csum_lo=block_checksum & 0xFFFF,
        bg_inode_bitmap_csum_lo=inode_checksum & 0xFFFF,
        bg_itable_unused_lo=free_inodes,
        bg_block_bitmap_csum_hi=block_checksum >> 16,
        bg_inode_bitmap_csum_hi=inode_checksum >> 16,
    )
    checksum = on_disk(extend(extend(seed, group.to_bytes(4, "little")), record)) & 0xFFFF
    return record[:DESCRIPTOR_CHECKSUM] + checksum.to_bytes(2, "little") + record[DESCRIPTOR_CHECKSUM + 2 :]


def _superblock(described: Description, group: int, free_blocks: int) -> bytes:
    geometry = described.geometry
    journal = described.journal_map
    time = min(max(described.time, 0), (1 << 40) - 1)
    record = SUPERBLOCK.pack(
        s_inodes_count=geometry.inodes,
        s_blocks_count_lo=geometry.blocks,
        s_free_blocks_count_lo=free_blocks,
        s_free_inodes_count=geometry.inodes - described.inodes,
        s_log_block_size=BLOCK_BITS - 10,
        s_log_cluster_size=BLOCK_BITS - 10,
        s_blocks_per_group=geometry.blocks_per_group,
        s_clusters_per_group=geometry.blocks_per_group,
        s_inodes_per_group=geometry.inodes_per_group,
        s_wtime=time & 0xFFFFFFFF,
        s_max_mnt_count=NO_MOUNT_LIMIT,
        s_magic=MAGIC,
        s_state=STATE_CLEAN,
        s_errors=ERRORS_CONTINUE,
        s_lastcheck=time & 0xFFFFFFFF,
        s_rev_level=REVISION_DYNAMIC,
        s_first_ino=FIRST_INO,
        s_inode_size=INODE_SIZE,
        s_block_group_nr=group,
        s_feature_compat=COMPAT_EXT_ATTR
        | COMPAT_RESIZE_INODE
        | COMPAT_DIR_INDEX
        | (COMPAT_HAS_JOURNAL if journal is not None else 0),
        s_feature_incompat=INCOMPAT_FILETYPE
        | INCOMPAT_EXTENTS
        | INCOMPAT_64BIT
        | INCOMPAT_FLEX_BG
        | INCOMPAT_CSUM_SEED,
        s_feature_ro_compat=RO_COMPAT_SPARSE_SUPER
        | RO_COMPAT_LARGE_FILE
        | RO_COMPAT_HUGE_FILE
        | RO_COMPAT_DIR_NLINK
        | RO_COMPAT_EXTRA_ISIZE
        | RO_COMPAT_METADATA_CSUM,
        s_uuid=described.uuid,
        s_reserved_gdt_blocks=geometry.reserved_descriptor_blocks,
        s_journal_inum=JOURNAL_INO if journal is not None else 0,
        s_hash_seed=described.hash_seed,
        s_def_hash_version=HASH_HALF_MD4,
        s_jnl_backup_type=JOURNAL_BACKUP_BLOCKS if journal is not None else 0,
        s_desc_size=DESCRIPTOR.size,
        s_default_mount_opts=MOUNT_XATTR_USER | MOUNT_ACL,
        s_mkfs_time=time & 0xFFFFFFFF,
        s_jnl_blocks=journal or b"",
        s_min_extra_isize=INODE_EXTRA,
        s_want_extra_isize=INODE_EXTRA,
        s_flags=FLAGS_UNSIGNED_HASH,
        s_log_groups_per_flex=_LOG_GROUPS_PER_FLEX,
        s_checksum_type=CHECKSUM_CRC32C,
        s_checksum_seed=on_disk(described.checksum_seed),
        s_wtime_hi=time >> 32,
        s_mkfs_time_hi=time >> 32,
        s_lastcheck_hi=time >> 32,
    )
    body = record[:SUPERBLOCK_CHECKSUM]
    return body + on_disk(extend(0, body)).to_bytes(4, "little")
