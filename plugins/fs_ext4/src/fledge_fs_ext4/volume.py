"""Reads the structures of an ext4 image: superblock, inodes, extents, directories.

The image may be hostile: every number is checked before it is used, and nothing is followed twice.
Raises Corrupt where the image is broken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fledge.blocks import Extent
from fledge.reading import Corrupt
from fledge.tree.content import FileSource

from fledge_fs_ext4.checksum import extend, from_disk, inode_seed, on_disk
from fledge_fs_ext4.format import (
    DESCRIPTOR,
    DESCRIPTOR_CHECKSUM,
    DIRENT,
    DIRENT_TAIL,
    DIRENT_TAIL_TYPE,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_INDEX,
    EXTENT_MAGIC,
    EXTENT_TAIL,
    FLAG_EXTENTS,
    FLAG_INDEX,
    FLAG_INLINE_DATA,
    INCOMPAT_64BIT,
    INCOMPAT_CSUM_SEED,
    INCOMPAT_EXTENTS,
    INCOMPAT_FILETYPE,
    INCOMPAT_FLEX_BG,
    INCOMPAT_LARGEDIR,
    INCOMPAT_RECOVER,
    INODE,
    INODE_BASE,
    INODE_CHECKSUM_HI,
    INODE_CHECKSUM_LO,
    INODE_SIZE,
    INODE_XATTRS,
    MAGIC,
    MAX_EXTENT,
    MAX_EXTENT_DEPTH,
    RO_COMPAT_BIGALLOC,
    RO_COMPAT_METADATA_CSUM,
    STATE_CLEAN,
    SUPERBLOCK,
    SUPERBLOCK_CHECKSUM,
    SUPERBLOCK_OFFSET,
)

_KNOWN_INCOMPAT = (
    INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT | INCOMPAT_FLEX_BG | INCOMPAT_CSUM_SEED | INCOMPAT_LARGEDIR
)
_MAX_LOG_BLOCK = 6
_MTIME_EXTRA_END = 12
"""i_extra_isize from which on i_mtime_extra is there."""
_CHECKSUM_HI_END = 4
_SHORT_DESCRIPTOR = 32


class RawInode(NamedTuple):
    """An inode as it stands in the table. `mtime` in ns."""

    ino: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    flags: int
    generation: int
    block_map: bytes
    xattr_block: int
    xattr_body: bytes


@dataclass(frozen=True, slots=True)
class _Shape:
    block: int
    blocks: int
    first_block: int
    per_group: int
    inodes: int
    inodes_per_group: int
    inode_size: int
    descriptor_size: int
    checksums: bool
    seed: int


class Volume:
    """An image, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or Corrupt for what is no ext4 or uses features that are not supported."""
        self.source = FileSource(path)
        record = self._bytes(SUPERBLOCK_OFFSET, SUPERBLOCK.size)
        self._shape = _shape(record)
        self.clean = bool(_int(SUPERBLOCK.unpack(record), "s_state") & STATE_CLEAN)
        """Whether it was unmounted, as far as a filesystem without a journal tells."""
        shape = self._shape
        groups = -(-(shape.blocks - shape.first_block) // shape.per_group)
        if shape.inodes != groups * shape.inodes_per_group:
            raise Corrupt(f"{groups} groups can't have {shape.inodes} inodes")
        self._tables: list[int] = []
        start = (shape.first_block + 1) * shape.block
        for group in range(groups):
            record = self._bytes(start + group * shape.descriptor_size, shape.descriptor_size)
            self._tables.append(self._table_of(group, record))

    @property
    def block(self) -> int:
        """Bytes of a block."""
        return self._shape.block

    def inode(self, ino: int) -> RawInode:
        """The inode of this number."""
        shape = self._shape
        if not 1 <= ino <= shape.inodes:
            raise Corrupt(f"inode {ino} is not one of {shape.inodes}")
        group, index = divmod(ino - 1, shape.inodes_per_group)
        raw = self._bytes(self._tables[group] + index * shape.inode_size, shape.inode_size)
        fields = INODE.unpack(raw[:INODE_SIZE].ljust(INODE_SIZE, b"\0"))
        mode, uid, size_lo, _, _, mtime, _, gid, _, _, flags, _, block_map = fields[:13]
        generation, acl_lo, size_hi, _, _, acl_hi, uid_hi, gid_hi = fields[13:21]
        extra, mtime_extra = fields[23], fields[26]
        body = raw[INODE_BASE + extra :]
        if shape.inode_size == INODE_BASE:
            extra = 0
            body = b""
        elif extra % 4 or INODE_BASE + extra > shape.inode_size:
            raise Corrupt(f"inode {ino} has {extra} bytes of extra fields")
        if shape.checksums:
            self._check_inode(ino, generation, extra, raw)
        seconds = mtime - (1 << 32) if mtime >> 31 else mtime
        nanoseconds = 0
        if extra >= _MTIME_EXTRA_END:
            seconds += (mtime_extra & 3) << 32
            nanoseconds = min(mtime_extra >> 2, 999_999_999)
        return RawInode(
            ino=ino,
            mode=mode,
            uid=uid | uid_hi << 16,
            gid=gid | gid_hi << 16,
            mtime=seconds * 1_000_000_000 + nanoseconds,
            size=size_lo | size_hi << 32,
            flags=flags,
            generation=generation,
            block_map=block_map,
            xattr_block=acl_lo | acl_hi << 32,
            xattr_body=body,
        )

    def extents(self, inode: RawInode) -> list[Extent]:
        """Where the inode's data stand, by rising logical block; unwritten extents are left out, for they read as zeros."""
        if inode.flags & FLAG_INLINE_DATA:
            raise Corrupt(f"inode {inode.ino} has its data inline, which is not supported")
        if not inode.flags & FLAG_EXTENTS:
            if any(inode.block_map):
                raise Corrupt(f"inode {inode.ino} has no extents (ext2 or ext3), which is not supported")
            return []
        found: list[Extent] = []
        end = 0
        for logical, start, count in self._leaves(inode):
            unwritten = count > MAX_EXTENT
            count -= MAX_EXTENT if unwritten else 0
            if logical < end or not count:
                raise Corrupt(f"inode {inode.ino} has extents out of order")
            end = logical + count
            self._check_blocks(inode.ino, start, count)
            if not unwritten:
                found.append((logical, start, count))
        return found

    def blocks(self, inode: RawInode) -> Iterator[bytes]:
        """The blocks of an inode without holes: a directory's or a symlink's."""
        at = 0
        for logical, start, count in self.extents(inode):
            if logical != at:
                raise Corrupt(f"inode {inode.ino} has a hole")
            at += count
            for block in range(start, start + count):
                yield self.at_block(block)
        if at * self.block < inode.size:
            raise Corrupt(f"inode {inode.ino} has fewer blocks than its {inode.size} bytes take")

    def entries(self, inode: RawInode) -> Iterator[tuple[bytes, int]]:
        """A directory's names and inode numbers, `.` and `..` among them; the nodes of its index show none."""
        seed = inode_seed(self._shape.seed, inode.ino, inode.generation)
        for number, block in enumerate(self.blocks(inode)):
            # The index's root keeps the tail of the leaf that it was before, with a checksum of its own kind.
            if self._shape.checksums and not (number == 0 and inode.flags & FLAG_INDEX):
                _check_listing(block, seed, inode.ino)
            at = 0
            while at < len(block):
                if at + DIRENT.size > len(block):
                    raise Corrupt(f"directory inode {inode.ino} has a broken entry")
                child, size, length, _ = DIRENT.unpack_from(block, at)
                size = size or 1 << 16
                if size < DIRENT.size + length or size % 4 or at + size > len(block):
                    raise Corrupt(f"directory inode {inode.ino} has a broken entry")
                if child:
                    yield block[at + DIRENT.size : at + DIRENT.size + length], child
                at += size

    def at_block(self, number: int) -> bytes:
        """A block of the filesystem."""
        self._check_blocks(0, number, 1)
        return self._bytes(number * self.block, self.block)

    def _leaves(self, inode: RawInode) -> Iterator[Extent]:
        """The entries of the extent tree's leaves, unwritten ones with their raw length."""
        seed = inode_seed(self._shape.seed, inode.ino, inode.generation)
        stack = [(0, -1)]
        visited: set[int] = set()
        while stack:
            block, expected = stack.pop()
            node = self.at_block(block) if block else inode.block_map
            magic, entries, _, depth, _ = EXTENT_HEADER.unpack_from(node)
            room = (len(node) - EXTENT_HEADER.size) // EXTENT.size
            if magic != EXTENT_MAGIC or entries > room or depth > MAX_EXTENT_DEPTH or (block and depth != expected):
                raise Corrupt(f"inode {inode.ino} has a broken extent tree")
            if block and self._shape.checksums:
                _check_extent_block(node, seed, inode.ino)
            if depth == 0:
                for at in range(entries):
                    logical, count, high, low = EXTENT.unpack_from(node, EXTENT_HEADER.size + at * EXTENT.size)
                    yield logical, high << 32 | low, count
                continue
            for at in reversed(range(entries)):
                _, low, high, _ = EXTENT_INDEX.unpack_from(node, EXTENT_HEADER.size + at * EXTENT_INDEX.size)
                block = high << 32 | low
                if not block or block in visited:
                    raise Corrupt(f"inode {inode.ino} has a loop in its extent tree")
                visited.add(block)
                stack.append((block, depth - 1))

    def _table_of(self, group: int, record: bytes) -> int:
        shape = self._shape
        fields = DESCRIPTOR.unpack(record[: DESCRIPTOR.size].ljust(DESCRIPTOR.size, b"\0"))
        table = _int(fields, "bg_inode_table_lo") | _int(fields, "bg_inode_table_hi") << 32
        if shape.checksums:
            cleared = record[:DESCRIPTOR_CHECKSUM] + b"\0\0" + record[DESCRIPTOR_CHECKSUM + 2 :]
            checksum = on_disk(extend(extend(shape.seed, group.to_bytes(4, "little")), cleared))
            if checksum & 0xFFFF != fields["bg_checksum"]:
                raise Corrupt(f"the descriptor of group {group} has a wrong checksum")
        self._check_blocks(0, table, -(-shape.inodes_per_group * shape.inode_size // shape.block))
        return table * shape.block

    def _check_inode(self, ino: int, generation: int, extra: int, raw: bytes) -> None:
        stored = int.from_bytes(raw[INODE_CHECKSUM_LO : INODE_CHECKSUM_LO + 2], "little")
        cleared = bytearray(raw)
        cleared[INODE_CHECKSUM_LO : INODE_CHECKSUM_LO + 2] = b"\0\0"
        mask = 0xFFFF
        if extra >= _CHECKSUM_HI_END:
            stored |= int.from_bytes(raw[INODE_CHECKSUM_HI : INODE_CHECKSUM_HI + 2], "little") << 16
            cleared[INODE_CHECKSUM_HI : INODE_CHECKSUM_HI + 2] = b"\0\0"
            mask = 0xFFFFFFFF
        if on_disk(extend(inode_seed(self._shape.seed, ino, generation), bytes(cleared))) & mask != stored:
            raise Corrupt(f"inode {ino} has a wrong checksum")

    def _check_blocks(self, ino: int, start: int, count: int) -> None:
        shape = self._shape
        if not (shape.first_block <= start and start + count <= shape.blocks):
            where = f"inode {ino} reaches" if ino else "a structure reaches"
            raise Corrupt(f"{where} beyond the filesystem's {shape.blocks} blocks")
        if (start + count) * shape.block > self.source.size:
            raise Corrupt(f"the file is cut short: {self.source.size} of {shape.blocks * shape.block} bytes are there")

    def _bytes(self, start: int, length: int) -> bytes:
        if start + length > self.source.size:
            raise Corrupt(f"the file is cut short after {self.source.size} bytes")
        return bytes(self.source.view(start, length))


def _shape(record: bytes) -> _Shape:
    fields = SUPERBLOCK.unpack(record)

    def get(name: str) -> int:
        return _int(fields, name)

    if get("s_magic") != MAGIC:
        raise Corrupt("it has no ext4 superblock")
    incompat = get("s_feature_incompat")
    if incompat & INCOMPAT_RECOVER:
        raise Corrupt("its journal is to be replayed first (e2fsck -p)")
    unknown = incompat & ~_KNOWN_INCOMPAT
    if unknown or get("s_feature_ro_compat") & RO_COMPAT_BIGALLOC:
        raise Corrupt(f"it has features that are not supported ({unknown:#x})")
    checksums = bool(get("s_feature_ro_compat") & RO_COMPAT_METADATA_CSUM)
    if checksums and get("s_checksum") != on_disk(extend(0, record[:SUPERBLOCK_CHECKSUM])):
        raise Corrupt("its superblock has a wrong checksum")
    uuid = fields["s_uuid"]
    assert isinstance(uuid, bytes)
    dynamic = get("s_rev_level") > 0
    shape = _Shape(
        block=1024 << min(get("s_log_block_size"), _MAX_LOG_BLOCK),
        blocks=get("s_blocks_count_lo") | (get("s_blocks_count_hi") << 32 if incompat & INCOMPAT_64BIT else 0),
        first_block=get("s_first_data_block"),
        per_group=get("s_blocks_per_group"),
        inodes=get("s_inodes_count"),
        inodes_per_group=get("s_inodes_per_group"),
        inode_size=get("s_inode_size") if dynamic else INODE_BASE,
        descriptor_size=get("s_desc_size") if incompat & INCOMPAT_64BIT else _SHORT_DESCRIPTOR,
        checksums=checksums,
        seed=from_disk(get("s_checksum_seed")) if incompat & INCOMPAT_CSUM_SEED else extend(0, uuid),
    )
    if (
        get("s_log_block_size") > _MAX_LOG_BLOCK
        or shape.blocks <= shape.first_block
        or not 1 <= shape.per_group <= 8 * shape.block
        or not 1 <= shape.inodes_per_group <= 8 * shape.block
        or not INODE_BASE <= shape.inode_size <= shape.block
        or (shape.inode_size > INODE_BASE and shape.inode_size < INODE_XATTRS)
        or shape.descriptor_size not in (_SHORT_DESCRIPTOR, DESCRIPTOR.size)
        or shape.first_block != (1 if shape.block == 1024 else 0)
    ):
        raise Corrupt("its superblock has sizes that can't be")
    return shape


def _int(fields: dict[str, int | bytes], name: str) -> int:
    value = fields[name]
    assert isinstance(value, int)
    return value


def _check_listing(block: bytes, seed: int, ino: int) -> None:
    """Leaves end in a tail with a checksum; the nodes of an index, which hold no names, in another one."""
    room = len(block) - DIRENT_TAIL.size
    child, size, length, kind, checksum = DIRENT_TAIL.unpack_from(block, room)
    is_leaf = (child, size, length, kind) == (0, DIRENT_TAIL.size, 0, DIRENT_TAIL_TYPE)
    if is_leaf and on_disk(extend(seed, block[:room])) != checksum:
        raise Corrupt(f"directory inode {ino} has a wrong checksum")


def _check_extent_block(node: bytes, seed: int, ino: int) -> None:
    capacity = struct.unpack_from("<H", node, 4)[0]
    end = EXTENT_HEADER.size + capacity * EXTENT.size
    if end + EXTENT_TAIL.size > len(node) or EXTENT_TAIL.unpack_from(node, end)[0] != on_disk(extend(seed, node[:end])):
        raise Corrupt(f"inode {ino} has an extent block with a wrong checksum")
