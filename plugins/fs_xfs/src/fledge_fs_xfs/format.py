"""The structures of an XFS filesystem of version 5 on disk: declarations only.

Sources: "XFS Algorithms & Data Structures", and the kernel's fs/xfs/libxfs/xfs_format.h, xfs_da_format.h and
xfs_log_format.h. Field names are those of the kernel's structures. All numbers are big-endian, except for the
checksums, which are little-endian.
"""

from __future__ import annotations

import struct
from typing import Final


class Record:
    """A fixed structure whose fields have names; what `pack` is not given is zero."""

    def __init__(self, size: int, fields: str) -> None:
        """`fields`: a `name:code` for each field, in struct's codes. `size` (bytes) guards against slips."""
        pairs = [field.split(":") for field in fields.split()]
        self._names = [name for name, _ in pairs]
        self._zeros = [b"" if code.endswith("s") else 0 for _, code in pairs]
        self._struct = struct.Struct(">" + "".join(code for _, code in pairs))
        assert self._struct.size == size, (self._struct.size, size)
        self.size = size

    def pack(self, **values: int | bytes) -> bytes:
        """The bytes of the structure."""
        taken = [values.pop(name, zero) for name, zero in zip(self._names, self._zeros, strict=True)]
        assert not values, values
        return self._struct.pack(*taken)

    def unpack(self, data: bytes, offset: int = 0) -> dict[str, int]:
        """The fields by name; those of bytes as big-endian numbers. Raises struct.error when `data` is too short."""
        values = self._struct.unpack_from(data, offset)
        return {
            name: int.from_bytes(value, "big") if isinstance(value, bytes) else value
            for name, value in zip(self._names, values, strict=True)
        }


BLOCK_BITS: Final = 12
BLOCK: Final = 1 << BLOCK_BITS
SECTOR_BITS: Final = 9
SECTOR: Final = 1 << SECTOR_BITS
SECTORS_PER_BLOCK: Final = BLOCK // SECTOR
"""Blocks say in their headers where they stand: in units of 512 bytes from the start of the image."""
NULL: Final = 0xFFFFFFFF
NULL_LONG: Final = 0xFFFFFFFFFFFFFFFF

# Superblock: the first sector of each allocation group; the first one counts.

SUPERBLOCK_MAGIC: Final = b"XFSB"

SUPERBLOCK: Final = Record(
    264,
    """
    sb_magicnum:4s sb_blocksize:I sb_dblocks:Q sb_rblocks:Q sb_rextents:Q sb_uuid:16s sb_logstart:Q sb_rootino:Q
    sb_rbmino:Q sb_rsumino:Q sb_rextsize:I sb_agblocks:I sb_agcount:I sb_rbmblocks:I sb_logblocks:I sb_versionnum:H
    sb_sectsize:H sb_inodesize:H sb_inopblock:H sb_fname:12s sb_blocklog:B sb_sectlog:B sb_inodelog:B sb_inopblog:B
    sb_agblklog:B sb_rextslog:B sb_inprogress:B sb_imax_pct:B sb_icount:Q sb_ifree:Q sb_fdblocks:Q sb_frextents:Q
    sb_uquotino:Q sb_gquotino:Q sb_qflags:H sb_flags:B sb_shared_vn:B sb_inoalignmt:I sb_unit:I sb_width:I
    sb_dirblklog:B sb_logsectlog:B sb_logsectsize:H sb_logsunit:I sb_features2:I sb_bad_features2:I
    sb_features_compat:I sb_features_ro_compat:I sb_features_incompat:I sb_features_log_incompat:I sb_crc:I
    sb_spino_align:I sb_pquotino:Q sb_lsn:Q sb_meta_uuid:16s
    """,
)
SUPERBLOCK_CRC: Final = 0xE0

VERSION_5: Final = 5
VERSION_NUMBER_MASK: Final = 0xF
VERSION_ATTR: Final = 0x10
VERSION_NLINK: Final = 0x20
VERSION_ALIGN: Final = 0x80
VERSION_LOGV2: Final = 0x400
VERSION_BORG: Final = 0x4000
"""Names are found in either case (ascii-ci)."""
VERSION_EXTFLG: Final = 0x1000
VERSION_DIRV2: Final = 0x2000
VERSION_MOREBITS: Final = 0x8000

FEATURE2_LAZYSBCOUNT: Final = 0x2
FEATURE2_ATTR2: Final = 0x8
FEATURE2_PROJID32: Final = 0x80
FEATURE2_CRC: Final = 0x100

RO_COMPAT_FINOBT: Final = 0x1
RO_COMPAT_REFLINK: Final = 0x4
RO_COMPAT_INOBTCNT: Final = 0x8

INCOMPAT_FTYPE: Final = 0x1
INCOMPAT_SPINODES: Final = 0x2
INCOMPAT_META_UUID: Final = 0x4
INCOMPAT_BIGTIME: Final = 0x8
INCOMPAT_NEEDSREPAIR: Final = 0x10
INCOMPAT_NREXT64: Final = 0x20
INCOMPAT_EXCHRANGE: Final = 0x40
INCOMPAT_PARENT: Final = 0x80

# Allocation groups: superblock, AGF, AGI and AGFL in a sector each, then the roots of the B+trees.

AGF_MAGIC: Final = b"XAGF"
AGI_MAGIC: Final = b"XAGI"
AGFL_MAGIC: Final = b"XAFL"
AG_VERSION: Final = 1

AGF: Final = Record(
    224,
    """
    agf_magicnum:4s agf_versionnum:I agf_seqno:I agf_length:I agf_bno_root:I agf_cnt_root:I agf_rmap_root:I
    agf_bno_level:I agf_cnt_level:I agf_rmap_level:I agf_flfirst:I agf_fllast:I agf_flcount:I agf_freeblks:I
    agf_longest:I agf_btreeblks:I agf_uuid:16s agf_rmap_blocks:I agf_refcount_blocks:I agf_refcount_root:I
    agf_refcount_level:I agf_spare64:112s agf_lsn:Q agf_crc:I agf_spare2:I
    """,
)
AGF_CRC: Final = 216

AGI_UNLINKED: Final = 64
AGI: Final = Record(
    344,
    f"""
    agi_magicnum:4s agi_versionnum:I agi_seqno:I agi_length:I agi_count:I agi_root:I agi_level:I agi_freecount:I
    agi_newino:I agi_dirino:I agi_unlinked:{4 * AGI_UNLINKED}s agi_uuid:16s agi_crc:I agi_pad32:I agi_lsn:Q
    agi_free_root:I agi_free_level:I agi_iblocks:I agi_fblocks:I
    """,
)
AGI_CRC: Final = 312

AGFL: Final = struct.Struct(">4sI16sQI")
"""agfl_magicnum agfl_seqno agfl_uuid agfl_lsn agfl_crc, and block numbers up to the end of the sector"""
AGFL_CRC: Final = 32
AGFL_SLOTS: Final = (SECTOR - AGFL.size) // 4

# B+tree blocks: short ones within an allocation group, long ones for the extents of an inode

SHORT_BLOCK: Final = struct.Struct(">4sHHIIQQ16sII")
"""magic level numrecs leftsib rightsib blkno lsn uuid owner crc"""
SHORT_BLOCK_CRC: Final = 52
LONG_BLOCK: Final = struct.Struct(">4sHHQQQQ16sQII")
"""magic level numrecs leftsib rightsib blkno lsn uuid owner crc pad"""
LONG_BLOCK_CRC: Final = 64

BNOBT_MAGIC: Final = b"AB3B"
CNTBT_MAGIC: Final = b"AB3C"
INOBT_MAGIC: Final = b"IAB3"
FINOBT_MAGIC: Final = b"FIB3"
REFCOUNTBT_MAGIC: Final = b"R3FC"
BMBT_MAGIC: Final = b"BMA3"

FREE_RECORD: Final = struct.Struct(">II")
"""startblock blockcount"""
REFCOUNT_RECORD_SIZE: Final = 12
INOBT_RECORD: Final = struct.Struct(">IHBBQ")
"""startino holemask count freecount free"""
INOBT_LEAF_RECORDS: Final = (BLOCK - SHORT_BLOCK.size) // INOBT_RECORD.size
SHORT_NODE_RECORDS: Final = (BLOCK - SHORT_BLOCK.size) // 8
"""Keys and pointers of 4 bytes each."""
REFCOUNT_LEAF_RECORDS: Final = (BLOCK - SHORT_BLOCK.size) // REFCOUNT_RECORD_SIZE

# Inodes

INODE_BITS: Final = 9
INODE_SIZE: Final = 1 << INODE_BITS
INODES_PER_BLOCK_BITS: Final = BLOCK_BITS - INODE_BITS
INODES_PER_BLOCK: Final = 1 << INODES_PER_BLOCK_BITS
CHUNK_INODES: Final = 64
"""Inodes are allocated in chunks of so many; the inode B+tree has a record for each chunk."""
CHUNK_BLOCKS: Final = CHUNK_INODES // INODES_PER_BLOCK
SPARSE_ALIGN: Final = CHUNK_BLOCKS // 2

INODE_MAGIC: Final = b"IN"
INODE_VERSION: Final = 3

# di_magic di_mode di_version di_format di_onlink di_uid di_gid di_nlink di_projid_lo di_projid_hi
# di_big_nextents di_atime di_mtime di_ctime di_size di_nblocks di_extsize di_nextents di_anextents di_forkoff di_aformat
# di_dmevmask di_dmstate di_flags di_gen di_next_unlinked di_crc di_changecount di_lsn di_flags2 di_cowextsize di_pad2
# di_crtime di_ino di_uuid
INODE_CORE: Final = struct.Struct(">2sHBBHIIIHH" + "QQQQQQIIHBB" + "IHHIIIQQQI12s" + "QQ16s")
assert INODE_CORE.size == 176
INODE_CRC: Final = 100
LITERAL: Final = INODE_SIZE - INODE_CORE.size
"""What an inode has for its forks."""

FORMAT_DEV: Final = 0
FORMAT_LOCAL: Final = 1
FORMAT_EXTENTS: Final = 2
FORMAT_BTREE: Final = 3

FLAG_REALTIME: Final = 0x1
FLAG_NEWRTBM: Final = 0x4
FLAG2_BIGTIME: Final = 0x8
FLAG2_NREXT64: Final = 0x10

MAX_LINKS: Final = (1 << 31) - 1
MAX_FILE_SIZE: Final = (1 << 63) - 1
MAX_NAME: Final = 255
MAX_SYMLINK: Final = 1023
"""XFS_SYMLINK_MAXLEN less one: symlink(2) on XFS takes no more."""

DEVICE_MINOR_BITS: Final = 18
MAX_MAJOR: Final = 511
MAX_MINOR: Final = (1 << DEVICE_MINOR_BITS) - 1
"""Of a device: mknod(2) on XFS takes no more (xfs_vn_mknod)."""

_SECOND: Final = 1_000_000_000
TIME_OFFSET: Final = (1 << 31) * _SECOND
"""bigtime counts nanoseconds from 1901-12-13."""
TIME_MIN: Final = -TIME_OFFSET
TIME_MAX: Final = ((((1 << 64) - 1) // _SECOND & ~3) + 1) * _SECOND - 1 - TIME_OFFSET
"""2486-07-02, in ns since 1970 (XFS_BIGTIME_TIME_MAX)."""

# Extents

EXTENT: Final = struct.Struct(">QQ")
"""From the highest bit: 1 unwritten, 54 first logical block, 52 first block of the filesystem, 21 how many"""
MAX_EXTENT: Final = (1 << 21) - 1
BMBT_RECORDS: Final = (BLOCK - LONG_BLOCK.size) // EXTENT.size
"""Of a leaf; of a node as many keys and pointers of 8 bytes each."""
BMBT_ROOT: Final = struct.Struct(">HH")
"""level numrecs, then keys and pointers as many as the fork has room for"""
LEAST_FORK: Final = 56
"""A root for three extent blocks: the kernel makes no data fork smaller that may become a B+tree (MINDBTPTRS)."""

# Directories

SHORT_DIR: Final = struct.Struct(">BBI")
"""count i8count parent; i8count: how many of the inode numbers, the parent's among them, are above 32 bits"""
SHORT_DIR_LONG: Final = struct.Struct(">BBQ")
"""The same with inode numbers of 8 bytes, all of them: where i8count is not 0"""
SHORT_ENTRY: Final = struct.Struct(">BH")
"""namelen offset, then the name, the file type and the inode number"""
SHORT_ENTRY_EXTRA: Final = SHORT_ENTRY.size + 1 + 4

DIR_BLOCK_MAGIC: Final = b"XDB3"
DIR_DATA_MAGIC: Final = b"XDD3"
DIR_FREE_MAGIC: Final = b"XDF3"
DIR_LEAF1_MAGIC: Final = 0x3DF1
DIR_LEAFN_MAGIC: Final = 0x3DFF

DIR_HEADER: Final = struct.Struct(">4sIQQ16sQ")
"""magic crc blkno lsn uuid owner"""
DIR_CRC: Final = 4
DIR_BEST_FREE: Final = struct.Struct(">HHHHHH4x")
"""Three times offset and length of the largest free spaces: behind DIR_HEADER"""
DIR_DATA_HEADER: Final = DIR_HEADER.size + DIR_BEST_FREE.size
DIR_ENTRY: Final = struct.Struct(">QB")
"""inumber namelen, then the name, the file type, padding, and the entry's own offset in the last two bytes of eight"""
DIR_ENTRY_EXTRA: Final = DIR_ENTRY.size + 1 + 2
DIR_UNUSED: Final = struct.Struct(">HH")
"""DIR_UNUSED_TAG length, and the own offset in the last two bytes"""
DIR_UNUSED_TAG: Final = 0xFFFF
DIR_BLOCK_TAIL: Final = struct.Struct(">II")
"""count stale"""
DIR_LEAF_ENTRY: Final = struct.Struct(">II")
"""hashval address"""
DIR_LEAF_TAIL: Final = struct.Struct(">I")
"""bestcount"""
DIR_FREE_COUNT: Final = struct.Struct(">III4x")
"""firstdb nvalid nused: behind DIR_HEADER"""
DIR_FREE_HEADER: Final = DIR_HEADER.size + DIR_FREE_COUNT.size
DIR_ADDRESS_UNIT: Final = 8
DIR_SPACE: Final = 1 << 35
"""Entries stand below 32 GiB, the hash index from there on, the index of free space from 64 GiB on."""
DIR_DATA_OFFSET: Final = DIR_DATA_HEADER + 32
"""Where the first entry behind `.` and `..` stands in the first block"""

DIRECTORY_TYPE: Final = 2
FILE_TYPES: Final = {0o010000: 5, 0o020000: 3, 0o040000: 2, 0o060000: 4, 0o100000: 1, 0o120000: 7, 0o140000: 6}
"""S_IFMT's bits to what an entry says of the inode."""

# Blocks of directories and attributes that are found by hash

DA_HEADER: Final = struct.Struct(">IIHHIQQ16sQ")
"""forw back magic pad crc blkno lsn uuid owner"""
DA_CRC: Final = 12
DA_NODE_MAGIC: Final = 0x3EBE
DA_NODE_COUNT: Final = struct.Struct(">HH4x")
"""count level: behind DA_HEADER"""
DA_NODE_HEADER: Final = DA_HEADER.size + DA_NODE_COUNT.size
DA_NODE_ENTRY: Final = struct.Struct(">II")
"""hashval before"""
DA_NODE_ENTRIES: Final = (BLOCK - DA_NODE_HEADER) // DA_NODE_ENTRY.size
DA_MAX_DEPTH: Final = 5
DIR_LEAF_COUNT: Final = DA_NODE_COUNT
"""count stale: behind DA_HEADER"""
DIR_LEAF_HEADER: Final = DA_HEADER.size + DIR_LEAF_COUNT.size

# Extended attributes

SHORT_ATTR: Final = struct.Struct(">HBx")
"""totsize count"""
SHORT_ATTR_ENTRY: Final = struct.Struct(">BBB")
"""namelen valuelen flags, then name and value"""
SHORT_ATTR_MAX: Final = 255

ATTR_LEAF_MAGIC: Final = 0x3BEE
ATTR_LEAF_COUNT: Final = struct.Struct(">HHHBxHHHHHH4x")
"""count usedbytes firstused holes, three times base and size of free space: behind DA_HEADER"""
ATTR_LEAF_HEADER: Final = DA_HEADER.size + ATTR_LEAF_COUNT.size
ATTR_ENTRY: Final = struct.Struct(">IHBx")
"""hashval nameidx flags"""
ATTR_LOCAL: Final = struct.Struct(">HB")
"""valuelen namelen, then name and value"""
ATTR_REMOTE: Final = struct.Struct(">IIB")
"""valueblk valuelen namelen, then the name"""
ATTR_LOCAL_MAX: Final = BLOCK // 2 + BLOCK // 4
"""A name and value that take as much or more go to blocks of their own."""
ATTR_FLAG_LOCAL: Final = 0x1
ATTR_FLAG_ROOT: Final = 0x2
ATTR_FLAG_SECURE: Final = 0x4
ATTR_FLAG_PARENT: Final = 0x8
ATTR_FLAG_INCOMPLETE: Final = 0x80
ATTR_MAX_VALUE: Final = 1 << 16

REMOTE_HEADER: Final = struct.Struct(">4sIII16sQQQ")
"""magic offset bytes crc uuid owner blkno lsn: of a remote attribute's and a symlink's blocks"""
REMOTE_CRC: Final = 12
REMOTE_ROOM: Final = BLOCK - REMOTE_HEADER.size
ATTR_REMOTE_MAGIC: Final = b"XARM"
SYMLINK_MAGIC: Final = b"XSLM"

# The log

MAX_LOG_BLOCKS: Final = 1 << 20
MAX_LOG_SIZE: Final = (2 << 30) - (10 << 20)
"""XFS_MAX_LOG_BYTES (fs/xfs/libxfs/xfs_fs.h)"""
LOG_RECORD_MAGIC: Final = 0xFEEDBABE
LOG_RECORD: Final = struct.Struct(">IIIIQQIIII252sI16sI")
"""h_magicno h_cycle h_version h_len h_lsn h_tail_lsn h_crc h_prev_block h_num_logops h_cycle_data[0], its rest, h_fmt
h_fs_uuid h_size"""
LOG_VERSION: Final = 2
LOG_FORMAT_LINUX_LE: Final = 1
LOG_OPERATION: Final = struct.Struct(">IIBBH")
"""oh_tid oh_len oh_clientid oh_flags oh_res2"""
LOG_UNMOUNT: Final = 0x20
"""oh_flags of the operation by which an unmount ends the log."""
