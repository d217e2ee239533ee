"""Reads the structures of an XFS image: superblock, inodes, and where their data and attributes stand.

The image may be hostile: every number is checked before it is used, and no block stands for two parts of an inode's
metadata: memory is taken for what the image has, not for what it says of itself. Raises Corrupt where it is broken.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from fledge.reading import Corrupt
from fledge.tree.content import FileSource

from fledge_fs_xfs import log
from fledge_fs_xfs.checksum import is_sealed
from fledge_fs_xfs.format import (
    BMBT_MAGIC,
    BMBT_ROOT,
    EXTENT,
    FLAG2_BIGTIME,
    FLAG2_NREXT64,
    FLAG_REALTIME,
    FORMAT_BTREE,
    FORMAT_EXTENTS,
    FORMAT_LOCAL,
    INCOMPAT_BIGTIME,
    INCOMPAT_EXCHRANGE,
    INCOMPAT_FTYPE,
    INCOMPAT_META_UUID,
    INCOMPAT_NEEDSREPAIR,
    INCOMPAT_NREXT64,
    INCOMPAT_PARENT,
    INCOMPAT_SPINODES,
    INODE_CORE,
    INODE_CRC,
    INODE_MAGIC,
    INODE_VERSION,
    LONG_BLOCK,
    LONG_BLOCK_CRC,
    MAX_LOG_BLOCKS,
    MAX_LOG_SIZE,
    SECTOR,
    SECTOR_BITS,
    SUPERBLOCK,
    SUPERBLOCK_CRC,
    SUPERBLOCK_MAGIC,
    TIME_OFFSET,
    VERSION_5,
    VERSION_BORG,
    VERSION_NUMBER_MASK,
)

_KNOWN_INCOMPAT = (
    INCOMPAT_FTYPE
    | INCOMPAT_SPINODES
    | INCOMPAT_META_UUID
    | INCOMPAT_BIGTIME
    | INCOMPAT_NREXT64
    | INCOMPAT_EXCHRANGE
    | INCOMPAT_PARENT
)
_MAX_LEVEL = 16
_SECOND = 1_000_000_000


class Extent(NamedTuple):
    """`start` counts the blocks of the image; `written` is False where the blocks read as zeros."""

    logical: int
    start: int
    blocks: int
    written: bool


class ForkBlocks:
    """The blocks of a fork that holds metadata: each is written, and none stands in two places of the fork.

    So what is read of a fork is no more than what there is of it in the image, however many blocks it claims to have.
    """

    def __init__(self, ino: int, extents: Sequence[Extent]) -> None:
        """Raises Corrupt."""
        if not all(extent.written for extent in extents):
            raise Corrupt(f"inode {ino} has unwritten blocks of metadata")
        runs = sorted((extent.start, extent.blocks) for extent in extents)
        if any(start + count > after for (start, count), (after, _) in pairwise(runs)):
            raise Corrupt(f"inode {ino} has one block in two places")
        self._ino = ino
        self._extents = extents
        self._firsts = [extent.logical for extent in extents]
        self.count = sum(extent.blocks for extent in extents)

    def __iter__(self) -> Iterator[int]:
        """The logical blocks that there are, rising."""
        for logical, _, count, _ in self._extents:
            yield from range(logical, logical + count)

    def place(self, logical: int) -> int:
        """Where a logical block stands in the image. Raises Corrupt when it is not there."""
        at = bisect_right(self._firsts, logical) - 1
        if at >= 0:
            first, start, count, _ = self._extents[at]
            if logical < first + count:
                return start + logical - first
        raise Corrupt(f"inode {self._ino} has no block {logical} of metadata")


class RawFork(NamedTuple):
    """A fork as its inode has it: `area` is what the inode has for it, `extents` how many it ought to have."""

    format: int
    area: bytes
    extents: int


class RawInode(NamedTuple):
    """An inode as it stands in its chunk. `mtime` in ns."""

    ino: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    data: RawFork
    attributes: RawFork


@dataclass(frozen=True, slots=True)
class Shape:
    """What the superblock says. Sizes in bytes where the name does not say blocks; `bits` are logarithms."""

    block_bits: int
    blocks: int
    group_blocks: int
    groups: int
    group_bits: int
    inode_bits: int
    dir_block: int
    root: int
    uuid: bytes
    log: tuple[int, int]
    """The log's first block, as the filesystem numbers it, and how many blocks it has."""

    @property
    def block(self) -> int:
        """Bytes of a block."""
        return 1 << self.block_bits

    @property
    def inode_size(self) -> int:
        """Bytes of an inode."""
        return 1 << self.inode_bits


class Volume:
    """An image, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or Corrupt for what is no XFS, was not unmounted or uses features that are not supported."""
        self.source = FileSource(path)
        self.shape = _shape(self._bytes(0, min(self.source.size, 1 << 15)))
        shape = self.shape
        if self.source.size < shape.blocks << shape.block_bits:
            raise Corrupt(f"the file is cut short: {self.source.size} of {shape.blocks * shape.block} bytes are there")
        self._check_log()

    def inode(self, ino: int) -> RawInode:
        """The inode of this number."""
        shape = self.shape
        per_block = shape.block_bits - shape.inode_bits
        start = self.linear(ino >> per_block)
        at = (start << shape.block_bits) + ((ino & (1 << per_block) - 1) << shape.inode_bits)
        raw = self._bytes(at, shape.inode_size)
        fields = INODE_CORE.unpack_from(raw)
        magic, mode, version, data_format = fields[:4]
        uid, gid = fields[5:7]
        mtime, size = fields[12], fields[14]
        extents, attr_extents, forkoff, attr_format = fields[17:21]
        flags, flags2 = fields[23], fields[29]
        if (magic, version) != (INODE_MAGIC, INODE_VERSION):
            raise Corrupt(f"inode {ino} is not there")
        if not is_sealed(raw, INODE_CRC):
            raise Corrupt(f"inode {ino} has a wrong checksum")
        if fields[33] != ino or fields[34] != shape.uuid:
            raise Corrupt(f"inode {ino} is another filesystem's or another one's")
        if flags & FLAG_REALTIME:
            raise Corrupt(f"inode {ino} has its data on a realtime device, which is not supported")
        if flags2 & FLAG2_NREXT64:
            extents, attr_extents = fields[10], fields[17]
        literal = raw[INODE_CORE.size :]
        if forkoff * 8 > len(literal):
            raise Corrupt(f"inode {ino} has its attributes beyond its end")
        inside = literal[: forkoff * 8] if forkoff else literal
        attributes = RawFork(attr_format, literal[forkoff * 8 :], attr_extents) if forkoff else _NO_FORK
        data = RawFork(data_format, inside, extents)
        return RawInode(ino, mode, uid, gid, _time(mtime, flags2), size, data, attributes)

    def extents(self, ino: int, fork: RawFork) -> list[Extent]:
        """Where the fork's blocks stand, by rising logical block."""
        if fork.format == FORMAT_EXTENTS:
            if fork.extents * EXTENT.size > len(fork.area):
                raise Corrupt(f"inode {ino} has more extents than room")
            records = [fork.area[: fork.extents * EXTENT.size]]
        elif fork.format == FORMAT_BTREE:
            records = self._leaves(ino, fork)
        else:
            raise Corrupt(f"inode {ino} has a fork of the unknown format {fork.format}")
        found: list[Extent] = []
        end = 0
        for part in records:
            for high, low in EXTENT.iter_unpack(part):
                logical = high >> 9 & (1 << 54) - 1
                count = low & (1 << 21) - 1
                if logical < end or not count:
                    raise Corrupt(f"inode {ino} has extents out of order")
                end = logical + count
                start = self.linear((high & 0x1FF) << 43 | low >> 21, count)
                found.append(Extent(logical, start, count, not high >> 63))
        if len(found) != fork.extents:
            raise Corrupt(f"inode {ino} has {len(found)} extents instead of {fork.extents}")
        return found

    def blocks(self, ino: int, fork: RawFork) -> ForkBlocks:
        """The blocks of a fork of metadata."""
        return ForkBlocks(ino, self.extents(ino, fork))

    def linear(self, address: int, count: int = 1) -> int:
        """Where `count` blocks from the filesystem's number `address` on stand, counted from the image's start."""
        shape = self.shape
        group, at = address >> shape.group_bits, address & (1 << shape.group_bits) - 1
        start = group * shape.group_blocks + at
        if group >= shape.groups or at + count > shape.group_blocks or start + count > shape.blocks:
            raise Corrupt(f"block {address:#x} is beyond the filesystem's {shape.blocks} blocks")
        return start

    def at_block(self, block: int, count: int = 1) -> bytes:
        """Blocks that were checked by `linear`."""
        return self._bytes(block << self.shape.block_bits, count << self.shape.block_bits)

    def sector(self, block: int) -> int:
        """How a block says where it stands."""
        return block << self.shape.block_bits - SECTOR_BITS

    def _leaves(self, ino: int, fork: RawFork) -> list[bytes]:
        """The records of the leaves of a B+tree of extents."""
        level, count = BMBT_ROOT.unpack_from(fork.area)
        most = (len(fork.area) - BMBT_ROOT.size) // 16
        if not 1 <= level <= _MAX_LEVEL or not 1 <= count <= most:
            raise Corrupt(f"inode {ino} has a broken extent tree")
        stack = [(pointer, level - 1) for pointer in _pointers(fork.area, BMBT_ROOT.size + most * 8, count)]
        visited: set[int] = set()
        leaves = []
        while stack:
            address, level = stack.pop()
            if address in visited:
                raise Corrupt(f"inode {ino} has a loop in its extent tree")
            visited.add(address)
            at = self.linear(address)
            block = self.at_block(at)
            magic, height, count, _, _, sector, _, uuid, owner, _, _ = LONG_BLOCK.unpack_from(block)
            most = (len(block) - LONG_BLOCK.size) // 16
            if (magic, height, sector, uuid, owner) != (BMBT_MAGIC, level, self.sector(at), self.shape.uuid, ino):
                raise Corrupt(f"inode {ino} has a broken extent tree")
            if not is_sealed(block, LONG_BLOCK_CRC):
                raise Corrupt(f"inode {ino} has an extent block with a wrong checksum")
            if count > most:
                raise Corrupt(f"inode {ino} has a broken extent tree")
            if level:
                stack += [(pointer, level - 1) for pointer in _pointers(block, LONG_BLOCK.size + most * 8, count)]
            else:
                leaves.append(block[LONG_BLOCK.size :][: count * EXTENT.size])
        return leaves

    def _check_log(self) -> None:
        address, count = self.shape.log
        start = self.linear(address, count)
        size = count << self.shape.block_bits
        if not log.is_clean(self.source, start << self.shape.block_bits, size):
            raise Corrupt("its log is to be replayed first (mount and unmount it once)")

    def _bytes(self, start: int, length: int) -> bytes:
        return bytes(self.source.view(start, length))


_NO_FORK = RawFork(FORMAT_LOCAL, b"", 0)


def _pointers(block: bytes, at: int, count: int) -> Sequence[int]:
    """By falling key: whoever takes the last one first takes them in order."""
    return struct.unpack_from(f">{count}Q", block, at)[::-1]


def _time(stored: int, flags2: int) -> int:
    if flags2 & FLAG2_BIGTIME:
        return stored - TIME_OFFSET
    seconds, nanoseconds = struct.unpack(">iI", stored.to_bytes(8, "big"))
    return int(seconds) * _SECOND + min(int(nanoseconds), _SECOND - 1)


def _shape(head: bytes) -> Shape:
    if len(head) < SECTOR:
        raise Corrupt(f"the file is cut short after {len(head)} bytes")
    sb = SUPERBLOCK.unpack(head)
    if head[:4] != SUPERBLOCK_MAGIC:
        raise Corrupt("it has no xfs superblock")
    if sb["sb_versionnum"] & VERSION_NUMBER_MASK != VERSION_5:
        raise Corrupt("it is of a version before 5 (without checksums), which is not supported")
    sector = sb["sb_sectsize"]
    if sector not in (1 << bits for bits in range(9, 16)) or not is_sealed(head[:sector], SUPERBLOCK_CRC):
        raise Corrupt("its superblock has a wrong checksum")
    incompat = sb["sb_features_incompat"]
    if incompat & INCOMPAT_NEEDSREPAIR:
        raise Corrupt("it says of itself that it needs xfs_repair")
    unknown = incompat & ~_KNOWN_INCOMPAT
    if unknown:
        raise Corrupt(f"it has features that are not supported (incompat {unknown:#x})")
    if not incompat & INCOMPAT_FTYPE:
        raise Corrupt("it has folders without file types, which is not supported")
    if sb["sb_versionnum"] & VERSION_BORG:
        raise Corrupt("it finds names in either case, which is not supported")
    if not sb["sb_logstart"]:
        raise Corrupt("it has its log on another device, which is not supported")
    if sb["sb_inprogress"]:
        raise Corrupt("mkfs.xfs did not complete it")
    name = "sb_meta_uuid" if incompat & INCOMPAT_META_UUID else "sb_uuid"
    shape = Shape(
        block_bits=sb["sb_blocklog"],
        blocks=sb["sb_dblocks"],
        group_blocks=sb["sb_agblocks"],
        groups=sb["sb_agcount"],
        group_bits=sb["sb_agblklog"],
        inode_bits=sb["sb_inodelog"],
        dir_block=sb["sb_blocksize"] << min(sb["sb_dirblklog"], 16),
        root=sb["sb_rootino"],
        uuid=sb[name].to_bytes(16, "big"),
        log=(sb["sb_logstart"], sb["sb_logblocks"]),
    )
    if (
        not 9 <= shape.block_bits <= 16
        or sb["sb_blocksize"] != shape.block
        or not 9 <= shape.inode_bits <= min(shape.block_bits, 11)
        or shape.dir_block > 1 << 16
        or not shape.groups
        or shape.group_bits > 31
        or not (shape.groups - 1) * shape.group_blocks < shape.blocks <= shape.groups * shape.group_blocks
        or shape.group_blocks > 1 << shape.group_bits
        or not 0 < sb["sb_logblocks"] <= min(MAX_LOG_BLOCKS, MAX_LOG_SIZE >> shape.block_bits)
    ):
        raise Corrupt("its superblock has sizes that can't be")
    return shape
