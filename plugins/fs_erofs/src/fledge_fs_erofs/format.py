"""The structures of an EROFS filesystem on disk: declarations only.

Source: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. All numbers are little-endian.

An inode is found by its number: it stands at `meta_blkaddr` blocks plus 32 times the number (nid). Behind it follow its
xattrs, then the index of its data blocks if it has one, then the last bytes of the data if they are kept inline.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

BLOCK_BITS: Final = 12
BLOCK: Final = 1 << BLOCK_BITS
NO_BLOCK: Final = 0xFFFFFFFF
"""A block address that stands for a hole, or for no block at all."""
MAX_BLOCKS: Final = NO_BLOCK
"""Block addresses have 32 bits, and the last one is NO_BLOCK."""

# Superblock

SUPERBLOCK_OFFSET: Final = 1024
MAGIC: Final = (0xE0F5E1E2).to_bytes(4, "little")
SUPERBLOCK: Final = Struct("<4sIIBBHQQIIII16s16sIHHHBBIQ24x")
SUPERBLOCK_FIELDS: Final = (
    "magic",
    "checksum",
    "feature_compat",
    "blkszbits",
    "sb_extslots",
    "root_nid",
    "inos",
    "build_time",
    "build_time_nsec",
    "blocks",
    "meta_blkaddr",
    "xattr_blkaddr",
    "uuid",
    "volume_name",
    "feature_incompat",
    "available_compr_algs",
    "extra_devices",
    "devt_slotoff",
    "dirblkbits",
    "xattr_prefix_count",
    "xattr_prefix_start",
    "packed_nid",
)
SUPERBLOCK_CHECKSUM: Final = slice(SUPERBLOCK_OFFSET + 4, SUPERBLOCK_OFFSET + 8)

COMPAT_CHECKSUM: Final = 1 << 0
COMPAT_MTIME: Final = 1 << 1
"""Inodes have the time of the last change, not that of the last change of the inode."""
INCOMPAT_LZ4_0PADDING: Final = 1 << 0
"""A pcluster that is not full begins with zeros, and ends with the compressed data."""
INCOMPAT_COMPRESSION_CONFIGS: Final = 1 << 1
"""The superblock is followed by a record for each algorithm; pclusters may have several blocks."""
INCOMPAT_CHUNKED_FILE: Final = 1 << 2
INCOMPAT_ZTAILPACKING: Final = 1 << 4
"""The last pcluster of a file may be inline."""
KNOWN_INCOMPAT: Final = (
    INCOMPAT_LZ4_0PADDING | INCOMPAT_COMPRESSION_CONFIGS | INCOMPAT_CHUNKED_FILE | INCOMPAT_ZTAILPACKING
)

ALGORITHM_LZ4: Final = 0
"""Also its bit in the superblock's compression algorithms."""
LZ4_CONFIG: Final = Struct("<HHH10x")
"""size of the rest, how far back a match may lie, most blocks of a pcluster."""
LZ4_MAX_DISTANCE: Final = (1 << 16) - 1

# Inodes

SLOT: Final = 32
"""What inode numbers count in (bytes)."""
INODE: Final = Struct("<HHHHQIIIIqII16x")
"""The extended form, which alone holds an mtime: i_format, i_xattr_icount, i_mode, reserved, i_size, i_u, i_ino, i_uid,
i_gid, i_mtime (seconds), i_mtime_nsec, i_nlink."""
COMPACT_INODE: Final = Struct("<HHHHI4xIIHH4x")
"""i_format, i_xattr_icount, i_mode, i_nlink, i_size, i_u, i_ino, i_uid, i_gid. The mtime is the superblock's build time."""
EXTENDED: Final = 1
"""The lowest bit of i_format; the three bits above are the layout."""
MIN_MTIME: Final = -(1 << 63) * 10**9
MAX_MTIME: Final = (1 << 63) * 10**9 - 1
"""ns: the seconds have 64 bits."""

FLAT_PLAIN: Final = 0
"""Blocks that follow each other; i_u is the first."""
COMPRESSED_FULL: Final = 1
"""An index with 8 bytes for each block of the file; i_u counts compressed blocks."""
FLAT_INLINE: Final = 2
"""As FLAT_PLAIN, but the last i_size % BLOCK bytes follow the inode."""
COMPRESSED_COMPACT: Final = 3
CHUNK_BASED: Final = 4
"""A block address for each chunk, NO_BLOCK for a hole; i_u says how large chunks are."""

CHUNK_BITS_MASK: Final = 0x1F
"""Of i_u: log2 of a chunk's blocks."""
CHUNK_INDEXES: Final = 0x20
"""Of i_u: the addresses have 8 bytes each, with a device's number."""

# Compressed files
#
# The data are cut into pclusters, physical ones, each of which holds an extent of the file and takes whole blocks. The
# index has an entry for each lcluster, a logical one: BLOCK bytes of the file. HEAD is where an extent begins, PLAIN
# where one begins that is not compressed and has one block, NONHEAD whatever lies between.

MAP_HEADER: Final = Struct("<2xHHBB")
"""Aligned to INDEX_ALIGN. bytes of the inline pcluster, advise, algorithms, log2 of an lcluster's blocks."""
FULL_INDEX_PADDING: Final = 8
"""Between the header and the entries of COMPRESSED_FULL."""
INDEX_ALIGN: Final = 8
LCLUSTER_HEAD: Final = Struct("<HHI")
"""type, where in the lcluster the extent begins, first block of the pcluster."""
LCLUSTER_NONHEAD: Final = Struct("<H2xHH")
"""type, lclusters back to the head, lclusters on to the next head."""
PLAIN: Final = 0
HEAD: Final = 1
NONHEAD: Final = 2
BLOCK_COUNT: Final = 1 << 11
"""In the first NONHEAD of an extent, which need not say how far the head is: how many blocks the pcluster has."""
ADVISE_COMPACTED_2B: Final = 1 << 0
ADVISE_BIG_PCLUSTER: Final = 1 << 1
ADVISE_BIG_PCLUSTER_2: Final = 1 << 2
"""The same for a second algorithm, which mkfs.erofs also sets where there is none."""
ADVISE_INLINE_PCLUSTER: Final = 1 << 3

MAX_PCLUSTER: Final = 1 << 20
MAX_EXTENT: Final = 12 << 20
"""The kernel's limits: what a pcluster takes (Z_EROFS_PCLUSTER_MAX_SIZE), and what it may stand for (..._MAX_DSIZE)."""

# Directories

DIRENT: Final = Struct("<QHBx")
"""nid, offset of the name in the block, file type. The first entry's offset tells how many there are."""
FILE_TYPES: Final = {0o100000: 1, 0o040000: 2, 0o020000: 3, 0o060000: 4, 0o010000: 5, 0o140000: 6, 0o120000: 7}
"""S_IFMT's bits to what an entry says of the inode."""
MAX_NAME: Final = 255
MAX_SYMLINK: Final = 4095
"""PATH_MAX less the NUL."""

# Extended attributes

XATTR_HEADER: Final = Struct("<IB7x")
"""name filter, shared attributes, of which the numbers follow; before the attributes of an inode's own."""
XATTR_ENTRY: Final = Struct("<BBH")
"""length of the name without prefix, number of the prefix, length of the value; then both, padded to XATTR_UNIT."""
XATTR_UNIT: Final = 4
"""What i_xattr_icount, beyond the header, and the numbers of shared attributes count in (bytes)."""
XATTR_PREFIXES: Final = {
    b"user.": 1,
    b"system.posix_acl_access": 2,
    b"system.posix_acl_default": 3,
    b"trusted.": 4,
    b"security.": 6,
}
MAX_XATTR_NAME: Final = 255
MAX_XATTR_VALUE: Final = (1 << 16) - 1
MAX_XATTR_LIST: Final = 1 << 16
"""What listxattr(2) gives: all names with a NUL each (XATTR_LIST_MAX)."""
MAX_XATTR_COUNT: Final = (1 << 16) - 1
"""i_xattr_icount has 16 bits."""
MAX_SHARED_XATTRS: Final = (1 << 8) - 1
