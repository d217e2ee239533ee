"""The structures of an ext4 filesystem on disk: declarations only.

Source: the kernel's Documentation/filesystems/ext4, fs/ext4/ext4.h and xattr.h, include/linux/jbd2.h. Field names
are those of the kernel's structures. All numbers are little-endian, except for the journal's.
"""

from __future__ import annotations

import struct
from typing import Final


class Record:
    """A fixed structure whose fields have names; what `pack` is not given is zero."""

    def __init__(self, size: int, fields: str, order: str = "<") -> None:
        """`fields`: a `name:code` for each field, in struct's codes. `size` (bytes) guards against slips."""
        pairs = [field.split(":") for field in fields.split()]
        self._names = [name for name, _ in pairs]
        self._zeros = [b"" if code.endswith("s") else 0 for _, code in pairs]
        self._struct = struct.Struct(order + "".join(code for _, code in pairs))
        assert self._struct.size == size, (self._struct.size, size)
        self.size = size

    def pack(self, **values: int | bytes) -> bytes:
        """The bytes of the structure."""
        taken = [values.pop(name, zero) for name, zero in zip(self._names, self._zeros, strict=True)]
        assert not values, values
        return self._struct.pack(*taken)

    def unpack(self, data: bytes | memoryview, offset: int = 0) -> dict[str, int | bytes]:
        """The fields by name. Raises struct.error when `data` is too short."""
        return dict(zip(self._names, self._struct.unpack_from(data, offset), strict=True))


BLOCK_BITS: Final = 12
BLOCK: Final = 1 << BLOCK_BITS
SECTOR: Final = 512
SECTORS_PER_BLOCK: Final = BLOCK // SECTOR
"""i_blocks counts sectors, whatever the block's size."""

# Superblock

SUPERBLOCK_OFFSET: Final = 1024
MAGIC: Final = 0xEF53
MAGIC_OFFSET: Final = SUPERBLOCK_OFFSET + 0x38
SUPERBLOCK_CHECKSUM: Final = 0x3FC

SUPERBLOCK: Final = Record(
    1024,
    """
    s_inodes_count:I s_blocks_count_lo:I s_r_blocks_count_lo:I s_free_blocks_count_lo:I s_free_inodes_count:I
    s_first_data_block:I s_log_block_size:I s_log_cluster_size:I s_blocks_per_group:I s_clusters_per_group:I
    s_inodes_per_group:I s_mtime:I s_wtime:I s_mnt_count:H s_max_mnt_count:H s_magic:H s_state:H s_errors:H
    s_minor_rev_level:H s_lastcheck:I s_checkinterval:I s_creator_os:I s_rev_level:I s_def_resuid:H s_def_resgid:H
    s_first_ino:I s_inode_size:H s_block_group_nr:H s_feature_compat:I s_feature_incompat:I s_feature_ro_compat:I
    s_uuid:16s s_volume_name:16s s_last_mounted:64s s_algorithm_usage_bitmap:I s_prealloc_blocks:B
    s_prealloc_dir_blocks:B s_reserved_gdt_blocks:H s_journal_uuid:16s s_journal_inum:I s_journal_dev:I
    s_last_orphan:I s_hash_seed:16s s_def_hash_version:B s_jnl_backup_type:B s_desc_size:H s_default_mount_opts:I
    s_first_meta_bg:I s_mkfs_time:I s_jnl_blocks:68s s_blocks_count_hi:I s_r_blocks_count_hi:I
    s_free_blocks_count_hi:I s_min_extra_isize:H s_want_extra_isize:H s_flags:I s_raid_stride:H s_mmp_interval:H
    s_mmp_block:Q s_raid_stripe_width:I s_log_groups_per_flex:B s_checksum_type:B s_encryption_level:B s_reserved_pad:B
    s_kbytes_written:Q s_snapshots_and_errors:128s s_mount_opts:64s s_usr_quota_inum:I s_grp_quota_inum:I
    s_overhead_clusters:I s_backup_bgs:8s s_encrypt_algos:4s s_encrypt_pw_salt:16s s_lpf_ino:I s_prj_quota_inum:I
    s_checksum_seed:I s_wtime_hi:B s_mtime_hi:B s_mkfs_time_hi:B s_lastcheck_hi:B s_error_times_hi:2s s_errcodes:2s
    s_encoding:H s_encoding_flags:H s_orphan_file_inum:I s_reserved:376s s_checksum:I
    """,
)

STATE_CLEAN: Final = 1
ERRORS_CONTINUE: Final = 1
REVISION_DYNAMIC: Final = 1
CHECKSUM_CRC32C: Final = 1
FLAGS_UNSIGNED_HASH: Final = 2
MOUNT_XATTR_USER: Final = 0x4
MOUNT_ACL: Final = 0x8
JOURNAL_BACKUP_BLOCKS: Final = 1
NO_MOUNT_LIMIT: Final = 0xFFFF

COMPAT_HAS_JOURNAL: Final = 0x4
COMPAT_EXT_ATTR: Final = 0x8
COMPAT_RESIZE_INODE: Final = 0x10
COMPAT_DIR_INDEX: Final = 0x20

INCOMPAT_FILETYPE: Final = 0x2
INCOMPAT_RECOVER: Final = 0x4
INCOMPAT_META_BG: Final = 0x10
INCOMPAT_EXTENTS: Final = 0x40
INCOMPAT_64BIT: Final = 0x80
INCOMPAT_FLEX_BG: Final = 0x200
INCOMPAT_CSUM_SEED: Final = 0x2000
INCOMPAT_LARGEDIR: Final = 0x4000

RO_COMPAT_SPARSE_SUPER: Final = 0x1
RO_COMPAT_LARGE_FILE: Final = 0x2
RO_COMPAT_HUGE_FILE: Final = 0x8
RO_COMPAT_GDT_CSUM: Final = 0x10
RO_COMPAT_DIR_NLINK: Final = 0x20
RO_COMPAT_EXTRA_ISIZE: Final = 0x40
RO_COMPAT_BIGALLOC: Final = 0x200
RO_COMPAT_METADATA_CSUM: Final = 0x400

# Block groups

MAX_PER_GROUP: Final = 8 * BLOCK
"""One bitmap block has a bit for each block, and another one for each inode, of a group."""

DESCRIPTOR: Final = Record(
    64,
    """
    bg_block_bitmap_lo:I bg_inode_bitmap_lo:I bg_inode_table_lo:I bg_free_blocks_count_lo:H bg_free_inodes_count_lo:H
    bg_used_dirs_count_lo:H bg_flags:H bg_exclude_bitmap_lo:I bg_block_bitmap_csum_lo:H bg_inode_bitmap_csum_lo:H
    bg_itable_unused_lo:H bg_checksum:H
    bg_block_bitmap_hi:I bg_inode_bitmap_hi:I bg_inode_table_hi:I bg_free_blocks_count_hi:H bg_free_inodes_count_hi:H
    bg_used_dirs_count_hi:H bg_itable_unused_hi:H bg_exclude_bitmap_hi:I bg_block_bitmap_csum_hi:H
    bg_inode_bitmap_csum_hi:H bg_reserved:I
    """,
)
DESCRIPTOR_CHECKSUM: Final = 0x1E
DESCRIPTORS_PER_BLOCK: Final = BLOCK // DESCRIPTOR.size
GROUP_INODE_ZEROED: Final = 0x4

# Inodes

ROOT_INO: Final = 2
RESIZE_INO: Final = 7
JOURNAL_INO: Final = 8
FIRST_INO: Final = 11
"""The inodes before it are reserved."""

INODE_SIZE: Final = 256
INODES_PER_BLOCK: Final = BLOCK // INODE_SIZE
INODE_BASE: Final = 128
"""Size of the part that all revisions have."""
INODE_EXTRA: Final = 32
"""i_extra_isize: the fields that follow up to i_projid."""
INODE_XATTRS: Final = INODE_BASE + INODE_EXTRA
"""Where the xattrs of the inode's body begin."""
INODE_XATTR_ROOM: Final = INODE_SIZE - INODE_XATTRS
INODE_MAP: Final = 60
"""Size of i_block: the root of the extent tree, a short symlink or a device number."""

# i_mode i_uid i_size_lo i_atime i_ctime i_mtime i_dtime i_gid i_links_count i_blocks_lo i_flags i_version i_block
# i_generation i_file_acl_lo i_size_high i_obso_faddr
# i_blocks_high i_file_acl_high i_uid_high i_gid_high i_checksum_lo i_reserved
# i_extra_isize i_checksum_hi i_ctime_extra i_mtime_extra i_atime_extra i_crtime i_crtime_extra i_version_hi i_projid
# and the xattrs
INODE: Final = struct.Struct("<HHIIIIIHHIII60s" + "IIII" + "HHHHHH" + "HHIIIIIII" + f"{INODE_XATTR_ROOM}s")
assert INODE.size == INODE_SIZE
INODE_CHECKSUM_LO: Final = 0x7C
INODE_CHECKSUM_HI: Final = 0x82

FLAG_INDEX: Final = 0x1000
FLAG_HUGE_FILE: Final = 0x40000
FLAG_EXTENTS: Final = 0x80000
FLAG_EA_INODE: Final = 0x200000
FLAG_INLINE_DATA: Final = 0x10000000

MAX_LINKS: Final = 65_000
"""EXT4_LINK_MAX. A directory with as many shows 1 instead (dir_nlink)."""
MAX_FILE_BLOCKS: Final = (1 << 32) - 1
"""Logical block numbers have 32 bits."""
FAST_SYMLINK: Final = INODE_MAP - 1
"""The longest target that stands in the inode; the kernel wants a NUL after it."""
MAX_SYMLINK: Final = BLOCK - 1

TIME_MIN: Final = -(1 << 31)
TIME_MAX: Final = (1 << 34) - (1 << 31) - 1
"""Seconds: 1901-12-13 to 2446-05-10; 32 signed bits, and two more for epochs of 2^32 s after them."""

# Extents

EXTENT_MAGIC: Final = 0xF30A
EXTENT_HEADER: Final = struct.Struct("<HHHHI")
"""eh_magic eh_entries eh_max eh_depth eh_generation"""
EXTENT: Final = struct.Struct("<IHHI")
"""ee_block ee_len ee_start_hi ee_start_lo"""
EXTENT_INDEX: Final = struct.Struct("<IIHH")
"""ei_block ei_leaf_lo ei_leaf_hi ei_unused"""
EXTENT_TAIL: Final = struct.Struct("<I")
"""et_checksum"""
EXTENTS_IN_INODE: Final = (INODE_MAP - EXTENT_HEADER.size) // EXTENT.size
EXTENTS_IN_BLOCK: Final = (BLOCK - EXTENT_HEADER.size - EXTENT_TAIL.size) // EXTENT.size
MAX_EXTENT: Final = 1 << 15
"""Blocks of one extent. A larger ee_len marks an unwritten extent of `ee_len - 2^15` blocks."""
MAX_EXTENT_DEPTH: Final = 5

# Directories

DIRENT: Final = struct.Struct("<IHBB")
"""inode rec_len name_len file_type, then the name, padded to 4 bytes"""
DIRENT_TAIL: Final = struct.Struct("<IHBBI")
"""0, 12, 0, DIRENT_TAIL_TYPE, checksum"""
DIRENT_TAIL_TYPE: Final = 0xDE
DIR_ROOM: Final = BLOCK - DIRENT_TAIL.size
"""What a directory's block has for entries."""
MAX_NAME: Final = 255

INDEX_COUNT: Final = struct.Struct("<HHI")
"""limit count block: stands in the place of the first entry, whose hash is 0"""
INDEX_ENTRY: Final = struct.Struct("<II")
"""hash block"""
INDEX_TAIL: Final = struct.Struct("<II")
"""reserved checksum"""
INDEX_INFO: Final = struct.Struct("<IBBBB")
"""reserved hash_version info_length indirect_levels unused_flags"""
INDEX_ROOT_HEAD: Final = 12 + 12 + INDEX_INFO.size
"""`.`, `..` and the info"""
INDEX_NODE_HEAD: Final = DIRENT.size
"""An entry of no inode that fills the block"""
INDEX_ROOT_LIMIT: Final = (BLOCK - INDEX_ROOT_HEAD - INDEX_TAIL.size) // INDEX_ENTRY.size
INDEX_NODE_LIMIT: Final = (BLOCK - INDEX_NODE_HEAD - INDEX_TAIL.size) // INDEX_ENTRY.size
HASH_HALF_MD4: Final = 1

# Extended attributes

XATTR_MAGIC: Final = 0xEA020000
XATTR_BODY_HEADER: Final = struct.Struct("<I")
XATTR_BLOCK_HEADER: Final = struct.Struct("<IIIII12x")
"""h_magic h_refcount h_blocks h_hash h_checksum"""
XATTR_BLOCK_CHECKSUM: Final = 16
XATTR_ENTRY: Final = struct.Struct("<BBHIII")
"""e_name_len e_name_index e_value_offs e_value_inum e_value_size e_hash, then the name, padded to 4 bytes"""
XATTR_END: Final = 4
"""Zero bytes after the last entry"""

XATTR_USER: Final = 1
XATTR_ACL_ACCESS: Final = 2
XATTR_ACL_DEFAULT: Final = 3
XATTR_TRUSTED: Final = 4
XATTR_SECURITY: Final = 6

# The journal: jbd2, big-endian

JOURNAL_SUPERBLOCK: Final = Record(
    1024,
    """
    h_magic:I h_blocktype:I h_sequence:I s_blocksize:I s_maxlen:I s_first:I s_sequence:I s_start:I s_errno:i
    s_feature_compat:I s_feature_incompat:I s_feature_ro_compat:I s_uuid:16s s_nr_users:I s_dynsuper:I
    s_max_transaction:I s_max_trans_data:I s_checksum_type:B s_padding2:3s s_num_fc_blks:I s_head:I s_padding:160s
    s_checksum:I s_users:768s
    """,
    order=">",
)
JOURNAL_CHECKSUM: Final = 0xFC
JOURNAL_MAGIC: Final = 0xC03B3998
JOURNAL_SUPERBLOCK_V2: Final = 4
JOURNAL_64BIT: Final = 0x2
JOURNAL_CSUM_V3: Final = 0x10
JOURNAL_CRC32C: Final = 4
