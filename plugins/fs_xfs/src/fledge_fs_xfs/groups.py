"""What describes the filesystem: superblocks, and each allocation group's headers and B+trees."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from fledge.blocks import Run
from fledge.output import ArtifactFile

from fledge_fs_xfs.btree import levels, split
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.format import (
    AG_VERSION,
    AGF,
    AGF_CRC,
    AGF_MAGIC,
    AGFL,
    AGFL_CRC,
    AGFL_MAGIC,
    AGFL_SLOTS,
    AGI,
    AGI_CRC,
    AGI_MAGIC,
    AGI_UNLINKED,
    BLOCK,
    BLOCK_BITS,
    BNOBT_MAGIC,
    CHUNK_BLOCKS,
    CHUNK_INODES,
    CNTBT_MAGIC,
    FEATURE2_ATTR2,
    FEATURE2_CRC,
    FEATURE2_LAZYSBCOUNT,
    FEATURE2_PROJID32,
    FINOBT_MAGIC,
    FREE_RECORD,
    INCOMPAT_BIGTIME,
    INCOMPAT_FTYPE,
    INCOMPAT_SPINODES,
    INOBT_LEAF_RECORDS,
    INOBT_MAGIC,
    INOBT_RECORD,
    INODE_BITS,
    INODE_SIZE,
    INODES_PER_BLOCK,
    INODES_PER_BLOCK_BITS,
    NULL,
    REFCOUNTBT_MAGIC,
    RO_COMPAT_FINOBT,
    RO_COMPAT_INOBTCNT,
    RO_COMPAT_REFLINK,
    SECTOR,
    SECTOR_BITS,
    SECTORS_PER_BLOCK,
    SHORT_BLOCK,
    SHORT_BLOCK_CRC,
    SHORT_NODE_RECORDS,
    SPARSE_ALIGN,
    SUPERBLOCK,
    SUPERBLOCK_CRC,
    SUPERBLOCK_MAGIC,
    VERSION_5,
    VERSION_ALIGN,
    VERSION_ATTR,
    VERSION_DIRV2,
    VERSION_EXTFLG,
    VERSION_LOGV2,
    VERSION_MOREBITS,
    VERSION_NLINK,
)
from fledge_fs_xfs.geometry import (
    BNO_ROOT,
    CNT_ROOT,
    FINO_ROOT,
    FREE_LIST,
    FREE_LIST_BLOCKS,
    INO_ROOT,
    REFCOUNT_ROOT,
    Geometry,
)


@dataclass(frozen=True, slots=True)
class Description:
    """What the headers say."""

    geometry: Geometry
    uuid: bytes
    used: Sequence[Run]
    """All blocks in use, counted through all groups, by rising block and without overlap."""
    inodes: int
    """The inodes in use are the first ones of all chunks."""


def write(target: ArtifactFile, described: Description) -> None:
    """Writes the head of each group, and the blocks of its inode B+tree."""
    shape = described.geometry
    groups = []
    left = described.inodes
    for number in range(shape.groups):
        groups.append(_Group(described, number, left))
        left -= min(left, shape.chunks[number][1] * CHUNK_INODES)
    superblock = _superblock(described, sum(group.free_blocks for group in groups))
    for number, group in enumerate(groups):
        for at, block in sorted(group.blocks(superblock).items()):
            target.write((number * shape.group_blocks + at) << BLOCK_BITS, block)


class _Group:
    """The headers and B+trees of one allocation group. All its blocks are counted from its start."""

    def __init__(self, described: Description, number: int, inodes: int) -> None:
        """`inodes`: how many are in use in this group and those behind it."""
        self._shape = described.geometry
        self._uuid = described.uuid
        self._number = number
        self._start, self._chunks = described.geometry.chunks[number]
        self._unused = max(self._chunks * CHUNK_INODES - inodes, 0)
        self._free = _gaps(described.used, number * self._shape.group_blocks, self._shape.group_blocks)
        self._free_in_runs = sum(length for _, length in self._free)

    @property
    def free_blocks(self) -> int:
        """With those that are kept for the growth of B+trees."""
        return self._free_in_runs + FREE_LIST_BLOCKS

    def blocks(self, superblock: bytes) -> dict[int, bytes]:
        """All of them but the inodes."""
        by_size = sorted(self._free, key=lambda run: (run[1], run[0]))
        inodes, level = self._inode_tree()
        return {
            0: superblock + self._agf() + self._agi(level) + self._free_list(),
            BNO_ROOT: self._leaf(BNO_ROOT, BNOBT_MAGIC, [FREE_RECORD.pack(*run) for run in self._free]),
            CNT_ROOT: self._leaf(CNT_ROOT, CNTBT_MAGIC, [FREE_RECORD.pack(*run) for run in by_size]),
            FINO_ROOT: self._leaf(
                FINO_ROOT, FINOBT_MAGIC, [record for _, record in self._inode_records(with_free=True)]
            ),
            REFCOUNT_ROOT: self._leaf(REFCOUNT_ROOT, REFCOUNTBT_MAGIC, []),
            **inodes,
        }

    def _agf(self) -> bytes:
        header = AGF.pack(
            agf_magicnum=AGF_MAGIC,
            agf_versionnum=AG_VERSION,
            agf_seqno=self._number,
            agf_length=self._shape.group_blocks,
            agf_bno_root=BNO_ROOT,
            agf_cnt_root=CNT_ROOT,
            agf_bno_level=1,
            agf_cnt_level=1,
            agf_fllast=FREE_LIST_BLOCKS - 1,
            agf_flcount=FREE_LIST_BLOCKS,
            agf_freeblks=self._free_in_runs,
            agf_longest=max((length for _, length in self._free), default=0),
            agf_uuid=self._uuid,
            agf_refcount_blocks=1,
            agf_refcount_root=REFCOUNT_ROOT,
            agf_refcount_level=1,
        )
        return seal(header.ljust(SECTOR, b"\0"), AGF_CRC)

    def _agi(self, level: int) -> bytes:
        header = AGI.pack(
            agi_magicnum=AGI_MAGIC,
            agi_versionnum=AG_VERSION,
            agi_seqno=self._number,
            agi_length=self._shape.group_blocks,
            agi_count=self._chunks * CHUNK_INODES,
            agi_root=INO_ROOT,
            agi_level=level,
            agi_freecount=self._unused,
            agi_newino=self._first_inode(self._chunks - 1) if self._chunks else NULL,
            agi_dirino=NULL,
            agi_unlinked=NULL.to_bytes(4, "big") * AGI_UNLINKED,
            agi_uuid=self._uuid,
            agi_free_root=FINO_ROOT,
            agi_free_level=1,
            agi_iblocks=1 + len(self._shape.tree_blocks(self._number)),
            agi_fblocks=1,
        )
        return seal(header.ljust(SECTOR, b"\0"), AGI_CRC)

    def _free_list(self) -> bytes:
        slots = [*range(FREE_LIST, FREE_LIST + FREE_LIST_BLOCKS)]
        slots += [NULL] * (AGFL_SLOTS - len(slots))
        header = AGFL.pack(AGFL_MAGIC, self._number, self._uuid, 0, 0)
        return seal(header + struct.pack(f">{AGFL_SLOTS}I", *slots), AGFL_CRC)

    def _inode_tree(self) -> tuple[dict[int, bytes], int]:
        """The blocks of the B+tree of inodes, and how many levels it has."""
        items = self._inode_records()
        places = list(self._shape.tree_blocks(self._number))
        counts = levels(len(items), INOBT_LEAF_RECORDS, SHORT_NODE_RECORDS, INOBT_LEAF_RECORDS, SHORT_NODE_RECORDS)
        blocks = {}
        for level, count in enumerate(counts):
            numbers, places = places[:count], places[count:]
            siblings = [NULL, *numbers, NULL]
            above = []
            for index, part in enumerate(split(items, count)):
                number = numbers[index]
                blocks[number] = self._node(number, INOBT_MAGIC, level, part, siblings[index], siblings[index + 2])
                above.append((part[0][0], number.to_bytes(4, "big")))
            items = above
        blocks[INO_ROOT] = self._node(INO_ROOT, INOBT_MAGIC, len(counts), items, NULL, NULL)
        return blocks, len(counts) + 1

    def _inode_records(self, *, with_free: bool = False) -> list[tuple[int, bytes]]:
        """Each chunk's first inode and record; `with_free`: only of chunks that have free inodes."""
        records = []
        full, rest = divmod(self._chunks * CHUNK_INODES - self._unused, CHUNK_INODES)
        for chunk in range(full if with_free else 0, self._chunks):
            free = 0 if chunk < full else CHUNK_INODES - rest
            mask = (1 << CHUNK_INODES) - (1 << (CHUNK_INODES - free))
            first = self._first_inode(chunk)
            records.append((first, INOBT_RECORD.pack(first, 0, CHUNK_INODES, free, mask)))
        return records

    def _first_inode(self, chunk: int) -> int:
        return (self._start + chunk * CHUNK_BLOCKS) << INODES_PER_BLOCK_BITS

    def _leaf(self, at: int, magic: bytes, records: Sequence[bytes]) -> bytes:
        """A B+tree of one block."""
        return self._block(at, magic, 0, len(records), b"".join(records))

    def _node(
        self, at: int, magic: bytes, level: int, items: Sequence[tuple[int, bytes]], left: int, right: int
    ) -> bytes:
        """A block of a B+tree. `items`: keys, and with each a record or, above the leaves, a block."""
        body = b"".join([item for _, item in items])
        if level:
            body = b"".join([key.to_bytes(4, "big") for key, _ in items]).ljust(SHORT_NODE_RECORDS * 4, b"\0") + body
        return self._block(at, magic, level, len(items), body, left, right)

    def _block(
        self, at: int, magic: bytes, level: int, count: int, body: bytes, left: int = NULL, right: int = NULL
    ) -> bytes:
        sector = (self._number * self._shape.group_blocks + at) * SECTORS_PER_BLOCK
        head = SHORT_BLOCK.pack(magic, level, count, left, right, sector, 0, self._uuid, self._number, 0)
        return seal((head + body).ljust(BLOCK, b"\0"), SHORT_BLOCK_CRC)


def _gaps(used: Sequence[Run], first: int, length: int) -> list[Run]:
    """What lies between the runs in use, within the `length` blocks from `first` on and counted from there."""
    gaps = []
    at = first
    for start, count in used:
        if start >= first + length:
            break
        if start > at:
            gaps.append((at - first, start - at))
        at = max(at, start + count)
    if at < first + length:
        gaps.append((at - first, first + length - at))
    return gaps


def _superblock(described: Description, free_blocks: int) -> bytes:
    shape = described.geometry
    inodes = sum(chunks for _, chunks in shape.chunks) * CHUNK_INODES
    features2 = FEATURE2_LAZYSBCOUNT | FEATURE2_ATTR2 | FEATURE2_PROJID32 | FEATURE2_CRC
    root = next(shape.inode_numbers())
    record = SUPERBLOCK.pack(
        sb_magicnum=SUPERBLOCK_MAGIC,
        sb_blocksize=BLOCK,
        sb_dblocks=shape.blocks,
        sb_uuid=described.uuid,
        sb_logstart=shape.address(shape.log_start),
        sb_rootino=root,
        sb_rbmino=root + 1,
        sb_rsumino=root + 2,
        sb_rextsize=1,
        sb_agblocks=shape.group_blocks,
        sb_agcount=shape.groups,
        sb_logblocks=shape.log_blocks,
        sb_versionnum=VERSION_5
        | VERSION_ATTR
        | VERSION_NLINK
        | VERSION_ALIGN
        | VERSION_LOGV2
        | VERSION_EXTFLG
        | VERSION_DIRV2
        | VERSION_MOREBITS,
        sb_sectsize=SECTOR,
        sb_inodesize=INODE_SIZE,
        sb_inopblock=INODES_PER_BLOCK,
        sb_blocklog=BLOCK_BITS,
        sb_sectlog=SECTOR_BITS,
        sb_inodelog=INODE_BITS,
        sb_inopblog=INODES_PER_BLOCK_BITS,
        sb_agblklog=shape.group_bits,
        sb_icount=inodes,
        sb_ifree=inodes - described.inodes,
        sb_fdblocks=free_blocks,
        sb_inoalignmt=CHUNK_BLOCKS,
        sb_logsunit=1,
        sb_features2=features2,
        sb_bad_features2=features2,
        sb_features_ro_compat=RO_COMPAT_FINOBT | RO_COMPAT_REFLINK | RO_COMPAT_INOBTCNT,
        sb_features_incompat=INCOMPAT_FTYPE | INCOMPAT_SPINODES | INCOMPAT_BIGTIME,
        sb_spino_align=SPARSE_ALIGN,
    )
    return seal(record.ljust(SECTOR, b"\0"), SUPERBLOCK_CRC)
