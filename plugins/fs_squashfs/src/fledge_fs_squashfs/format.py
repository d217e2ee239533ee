"""The on-disk structures of squashfs 4.0: declarations, and the encoding of single numbers.

Everything is little-endian. Sources: Linux Documentation/filesystems/squashfs.rst and
fs/squashfs/squashfs_fs.h, and the "Squashfs Binary Format" description that squashfs-tools-ng publishes.

An image stands in this order: superblock, compressor options, data blocks and fragment blocks, inode table,
directory table, fragment table, export table, id table, xattr table. The kernel takes the start of each table as
the end of the one before and refuses gaps.
"""

from __future__ import annotations

import sys
from array import array
from struct import Struct
from typing import Final

MAGIC: Final = b"hsqs"
VERSION: Final = (4, 0)
INVALID_TABLE: Final = (1 << 64) - 1
"""The start of a table that is not there."""
INVALID_32: Final = (1 << 32) - 1
"""No fragment, no xattrs."""

SUPERBLOCK: Final = Struct("<4sIIIIHHHHHHQQQQQQQQ")
"""magic, inodes, mkfs time, block size, fragments, compressor, log2 of the block size, flags, ids, major, minor,
root inode reference, bytes used, starts of the id, xattr, inode, directory, fragment and export tables."""

COMPRESSORS: Final = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
COMPRESSOR_IDS: Final = {name: number for number, name in COMPRESSORS.items()}

FLAG_DUPLICATES: Final = 0x0040
FLAG_EXPORTABLE: Final = 0x0080
FLAG_NO_XATTRS: Final = 0x0200
FLAG_COMPRESSOR_OPTIONS: Final = 0x0400

BLOCK_SIZE_MIN: Final = 4 << 10
BLOCK_SIZE_MAX: Final = 1 << 20
DATA_RAW: Final = 1 << 24
"""Set in the size of a data or fragment block that is stored uncompressed; a size of 0 is a block of zeros."""

METADATA_SIZE: Final = 8 << 10
"""Bytes of a metadata block before compression; only the last one of a table may be shorter."""
METADATA_HEADER: Final = Struct("<H")
METADATA_RAW: Final = 1 << 15

PADDING: Final = 4 << 10
"""The file is padded to this, because loop devices and most disks read whole pages; bytes used does not count it."""

MAX_IDS: Final = (1 << 16) - 1
"""Inodes index the id table with 16 bits, but the superblock counts ids in 16 bits as well, and the kernel refuses 0."""
MAX_NAME: Final = 255
"""An entry has 16 bits for it, the kernel takes 256 (SQUASHFS_NAME_LEN), Linux names end at NAME_MAX."""
MAX_SYMLINK: Final = 4095
"""The kernel refuses targets longer than a page; PATH_MAX counts a NUL."""
MAX_TIME: Final = (1 << 32) - 1
"""Unsigned seconds since 1970: up to the year 2106."""
MAX_MAJOR: Final = (1 << 12) - 1
MAX_MINOR: Final = (1 << 20) - 1

# Inode types of the directory entries; an inode in the extended form adds EXTENDED.
TYPE_DIRECTORY: Final = 1
TYPE_FILE: Final = 2
TYPE_SYMLINK: Final = 3
TYPE_BLOCK_DEVICE: Final = 4
TYPE_CHAR_DEVICE: Final = 5
TYPE_FIFO: Final = 6
TYPE_SOCKET: Final = 7
EXTENDED: Final = 7

# Every inode begins with: type, permission bits, uid index, gid index, mtime, inode number.
INODE_HEADER: Final = Struct("<HHHHII")
DIRECTORY: Final = Struct("<HHHHIIIIHHI")
"""... block of the listing, nlink, size of the listing + 3, offset in the block, parent's inode number."""
LDIRECTORY: Final = Struct("<HHHHIIIIIIHHI")
"""... nlink, size of the listing + 3, block of the listing, parent's inode number, index entries, offset, xattrs."""
FILE: Final = Struct("<HHHHIIIIII")
"""... start of the data blocks, fragment, offset in the fragment, size; then the block sizes."""
LFILE: Final = Struct("<HHHHIIQQQIIII")
"""... start of the data blocks, size, bytes in holes, nlink, fragment, offset, xattrs; then the block sizes."""
SYMLINK: Final = Struct("<HHHHIIII")
"""... nlink, length; then the target, and in the extended form the xattrs."""
DEVICE: Final = Struct("<HHHHIIII")
"""... nlink, device number."""
LDEVICE: Final = Struct("<HHHHIIIII")
"""... nlink, device number, xattrs."""
IPC: Final = Struct("<HHHHIII")
"""... nlink."""
LIPC: Final = Struct("<HHHHIIII")
"""... nlink, xattrs."""
U32: Final = Struct("<I")
U64: Final = Struct("<Q")

LISTING_EXTRA: Final = 3
"""The kernel makes up `.` and `..`, and a directory's size counts 3 bytes for them."""
DIRECTORY_HEADER: Final = Struct("<III")
"""Entries - 1, block of their inodes, the inode number that theirs are relative to."""
DIRECTORY_ENTRY: Final = Struct("<HhHH")
"""Offset of the inode in its block, inode number as a difference, type, length of the name - 1; then the name."""
DIRECTORY_HEADER_ENTRIES: Final = 256
DIRECTORY_INDEX: Final = Struct("<III")
"""Offset in the listing, its metadata block, length of the name - 1; then the first name there."""
DIRECTORY_INDEX_MAX: Final = (1 << 16) - 1

FRAGMENT: Final = Struct("<QII")
"""Start, size, unused."""

XATTR_PREFIXES: Final = (b"user.", b"trusted.", b"security.")
"""By their number in an entry's type. There is no number for any other namespace, such as system.posix_acl_access."""
XATTR_OUT_OF_LINE: Final = 0x100
XATTR_ENTRY: Final = Struct("<HH")
"""Type, length of the name without its prefix; then the name."""
XATTR_VALUE: Final = Struct("<I")
"""Length; then the value, or with XATTR_OUT_OF_LINE a reference to another length and value."""
XATTR_ID: Final = Struct("<QII")
"""Reference to the first entry, entries, their bytes."""
XATTR_TABLE: Final = Struct("<QII")
"""Start of the entries, number of ids, unused; then the starts of the id blocks."""
XATTR_NAME_MAX: Final = 255
XATTR_VALUE_MAX: Final = 64 << 10
XATTR_LIST_MAX: Final = 64 << 10
"""linux/limits.h: what getxattr(2) and listxattr(2) can hand out."""


def device_number(major: int, minor: int) -> int:
    """The kernel's 32-bit encoding (include/linux/kdev_t.h, new_encode_dev): 12 bits major, 20 bits minor."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def device_pair(number: int) -> tuple[int, int]:
    """Major and minor of a device number."""
    return (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)


def little_endian(values: array[int]) -> array[int]:
    """Between this machine's byte order and the format's, either way."""
    if sys.byteorder == "little":
        return values
    swapped = values[:]
    swapped.byteswap()
    return swapped
