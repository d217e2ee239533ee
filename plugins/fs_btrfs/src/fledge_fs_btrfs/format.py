"""The structures of a btrfs filesystem on disk: declarations only.

Source: the kernel's include/uapi/linux/btrfs_tree.h, fs/btrfs/fs.h and fs/btrfs/tree-checker.c. All numbers are
little-endian. A tree's key is (objectid, type, offset); what the three mean depends on the type.
"""

from __future__ import annotations

import stat
import struct
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

SECTOR_BITS: Final = 12
SECTOR: Final = 1 << SECTOR_BITS
"""The unit of data, and what a data checksum covers: the page size of the kernels that are to mount it."""
NODE: Final = 16 * KIB
"""A block of a tree, mkfs.btrfs's default."""
STRIPE: Final = 64 * KIB
"""BTRFS_STRIPE_LEN: the granularity of chunks, and what a superblock keeps free around itself."""

GENERATION: Final = 1
"""Of everything: the whole image is one transaction."""

# Tree blocks

CHECKSUM_SIZE: Final = 32
"""The field's; crc32c takes the first four bytes of it. It covers what follows it."""
HEADER: Final = struct.Struct("<16sQQ16sQQIB")
"""fsid bytenr flags chunk_tree_uuid generation owner nritems level; the checksum stands before"""
HEADER_SIZE: Final = CHECKSUM_SIZE + HEADER.size
HEADER_FLAGS: Final = 1 << 56 | 1
"""BTRFS_MIXED_BACKREF_REV in the topmost byte, and BTRFS_HEADER_FLAG_WRITTEN."""
KEY: Final = struct.Struct("<QBQ")
ITEM: Final = struct.Struct("<QBQII")
"""A key, and where the item's data stand, from the end of the header on."""
POINTER: Final = struct.Struct("<QBQQQ")
"""The first key of the block below, its bytenr and its generation"""
LEAF_ROOM: Final = NODE - HEADER_SIZE
MAX_ITEM: Final = LEAF_ROOM - ITEM.size
"""BTRFS_MAX_ITEM_SIZE: an item stands in one leaf."""
POINTERS: Final = LEAF_ROOM // POINTER.size
MAX_LEVEL: Final = 8

# Trees, which are objectids of the root tree

ROOT_TREE: Final = 1
EXTENT_TREE: Final = 2
CHUNK_TREE: Final = 3
DEV_TREE: Final = 4
FS_TREE: Final = 5
ROOT_TREE_DIR: Final = 6
CSUM_TREE: Final = 7
UUID_TREE: Final = 9
FREE_SPACE_TREE: Final = 10
DATA_RELOC_TREE: Final = (1 << 64) - 9

DEV_ITEMS: Final = 1
EXTENT_CSUM: Final = (1 << 64) - 10
FIRST_CHUNK_TREE: Final = 256
FIRST_INO: Final = 256
"""The root directory of every subvolume."""

# Types of items

INODE_ITEM: Final = 1
INODE_REF: Final = 12
INODE_EXTREF: Final = 13
XATTR_ITEM: Final = 24
DIR_ITEM: Final = 84
DIR_INDEX: Final = 96
EXTENT_DATA: Final = 108
EXTENT_CSUM_ITEM: Final = 128
ROOT_ITEM: Final = 132
EXTENT_ITEM: Final = 168
METADATA_ITEM: Final = 169
TREE_BLOCK_REF: Final = 176
EXTENT_DATA_REF: Final = 178
BLOCK_GROUP_ITEM: Final = 192
FREE_SPACE_INFO: Final = 198
FREE_SPACE_EXTENT: Final = 199
DEV_EXTENT: Final = 204
DEV_ITEM: Final = 216
CHUNK_ITEM: Final = 228
UUID_SUBVOL: Final = 251

# Inodes

INODE: Final = struct.Struct("<QQQQQIIIIQQQ32x" + "qI" * 4)
"""generation transid size nbytes block_group nlink uid gid mode rdev flags sequence, then seconds and nanoseconds of
atime, ctime, mtime and otime"""
REF: Final = struct.Struct("<QH")
"""index name_len, then the name; all of one parent in one item"""
EXTREF: Final = struct.Struct("<QQH")
"""parent index name_len, then the name; all of one hash in one item"""
ENTRY: Final = struct.Struct("<QBQQHHB")
"""The location's key, transid, data_len, name_len and type; then the name, and an xattr's value"""
FIRST_INDEX: Final = 2
"""Of a directory's entries; 0 and 1 stand for `.` and `..`."""

TYPE_DIR: Final = 2
TYPE_XATTR: Final = 8
ENTRY_TYPES: Final = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: TYPE_DIR,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}

MTIME_MIN: Final = -(1 << 63) * 10**9
MTIME_MAX: Final = (1 << 63) * 10**9 - 1
"""ns: seconds have 64 bits and a sign."""
MAX_NAME: Final = 255
MAX_LINKS: Final = 65_535
"""BTRFS_LINK_MAX"""
MAX_FILE: Final = (1 << 63) - SECTOR
"""Offsets are signed in the kernel; the last sector must end within them."""
MAX_XATTR: Final = MAX_ITEM - ENTRY.size
"""BTRFS_MAX_XATTR_SIZE: name and value."""

FLAG_NODATASUM: Final = 1 << 0

# File extents

FILE_EXTENT: Final = struct.Struct("<QQBBHB")
"""generation ram_bytes compression encryption other_encoding type; an inline one's data follow"""
REGULAR_EXTENT: Final = struct.Struct(FILE_EXTENT.format + "QQQQ")
"""and disk_bytenr disk_num_bytes offset num_bytes"""
INLINE: Final = 0
REGULAR: Final = 1
PREALLOCATED: Final = 2
COMPRESSIONS: Final = {1: "zlib", 2: "lzo", 3: "zstd"}

MAX_INLINE: Final = 2048
"""A larger file's data get sectors: the mount option max_inline's default."""
MAX_SYMLINK: Final = SECTOR - 1
"""Targets are always inline, and an uncompressed inline extent is shorter than a sector."""
MAX_EXTENT: Final = 128 * MIB
"""BTRFS_MAX_EXTENT_SIZE"""

# Extents and space

EXTENT: Final = struct.Struct("<QQQB")
"""refs generation flags, and the type of the one reference"""
DATA_EXTENT: Final = struct.Struct(EXTENT.format + "QQQI")
"""and root objectid offset count"""
TREE_BLOCK: Final = struct.Struct(EXTENT.format + "Q")
"""and root"""
EXTENT_IS_DATA: Final = 1
EXTENT_IS_TREE_BLOCK: Final = 2

BLOCK_GROUP: Final = struct.Struct("<QQQ")
"""used chunk_objectid flags"""
DATA: Final = 1
SYSTEM: Final = 2
METADATA: Final = 4
DUP: Final = 0x20
PROFILES: Final = 0xFFFF_FFFF_FFFF & ~(DATA | SYSTEM | METADATA)

CHUNK: Final = struct.Struct("<QQQQIIIHH")
"""length owner stripe_len type io_align io_width sector_size num_stripes sub_stripes, then the stripes"""
CHUNK_STRIPE: Final = struct.Struct("<QQ16s")
"""devid offset dev_uuid"""
DEVICE_EXTENT: Final = struct.Struct("<QQQQ16s")
"""chunk_tree chunk_objectid chunk_offset length chunk_tree_uuid"""
DEVICE: Final = struct.Struct("<QQQIIIQQQIBB16s16s")
"""devid total_bytes bytes_used io_align io_width sector_size type generation start_offset dev_group seek_speed
bandwidth uuid fsid"""
DEVICE_ID: Final = 1
FREE_SPACE: Final = struct.Struct("<II")
"""extent_count flags"""

CHECKSUM: Final = struct.Struct("<I")
MAX_CHECKSUMS: Final = (LEAF_ROOM - 2 * ITEM.size) // CHECKSUM.size - 1
"""Of one item: MAX_CSUM_ITEMS in fs/btrfs/file-item.c."""

# Roots

ROOT: Final = struct.Struct("<160sQQQ8xQ16xI18xBQ16s176x")
"""inode generation root_dirid bytenr bytes_used refs level generation_v2 uuid; what lies between is for snapshots, quotas
and trees that are being deleted"""
assert ROOT.size == 439
ROOT_PLACE: Final = struct.Struct("<QQQ")
"""generation root_dirid bytenr"""
ROOT_PLACE_OFFSET: Final = INODE.size
ROOT_LEVEL: Final = 238
"""The offset of level"""

# The superblock

MIRRORS: Final = (64 * KIB, 64 * MIB, 256 * GIB)
"""Where the superblock stands, as far as the device reaches."""
SUPERBLOCK_SIZE: Final = 4096
MAGIC: Final = b"_BHRfS_M"
MAGIC_OFFSET: Final = MIRRORS[0] + 0x40
SYSTEM_CHUNKS: Final = 2048

SUPERBLOCK: Final = struct.Struct("<16sQQ8s9Q5I4QH3B98s256sQQ16s224x2048s672s565x")
"""After the checksum: the fields of superblock.Superblock."""
assert CHECKSUM_SIZE + SUPERBLOCK.size == SUPERBLOCK_SIZE
SUPER_FLAG_WRITTEN: Final = 1
BACKUP_ROOT: Final = struct.Struct("<QQQQQQQQQQQQQQQ32xBBBBBB10x")
"""tree_root and its generation, likewise chunk_root, extent_root, fs_root, dev_root and csum_root; total_bytes
bytes_used num_devices; the levels of the six"""

COMPAT_RO: Final = 0x1 | 0x2
"""FREE_SPACE_TREE and FREE_SPACE_TREE_VALID: Linux 4.5."""
INCOMPAT_MIXED_BACKREF: Final = 0x1
INCOMPAT_DEFAULT_SUBVOL: Final = 0x2
INCOMPAT_MIXED_GROUPS: Final = 0x4
INCOMPAT_COMPRESS_LZO: Final = 0x8
INCOMPAT_COMPRESS_ZSTD: Final = 0x10
INCOMPAT_BIG_METADATA: Final = 0x20
INCOMPAT_EXTENDED_IREF: Final = 0x40
INCOMPAT_SKINNY_METADATA: Final = 0x100
INCOMPAT_NO_HOLES: Final = 0x200
INCOMPAT_METADATA_UUID: Final = 0x400
INCOMPAT: Final = (
    INCOMPAT_MIXED_BACKREF
    | INCOMPAT_BIG_METADATA
    | INCOMPAT_EXTENDED_IREF
    | INCOMPAT_SKINNY_METADATA
    | INCOMPAT_NO_HOLES
)
"""Linux 3.14 reads it."""
