"""Reads directories of all forms. Raises Corrupt where they are broken, as volume.py does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from fledge.reading import Corrupt

from fledge_fs_xfs.checksum import is_sealed
from fledge_fs_xfs.dahash import hash_names
from fledge_fs_xfs.format import (
    DA_CRC,
    DA_HEADER,
    DA_NODE_MAGIC,
    DIR_ADDRESS_UNIT,
    DIR_BLOCK_MAGIC,
    DIR_BLOCK_TAIL,
    DIR_CRC,
    DIR_DATA_HEADER,
    DIR_DATA_MAGIC,
    DIR_ENTRY,
    DIR_ENTRY_EXTRA,
    DIR_FREE_MAGIC,
    DIR_HEADER,
    DIR_LEAF1_MAGIC,
    DIR_LEAF_COUNT,
    DIR_LEAF_ENTRY,
    DIR_LEAF_HEADER,
    DIR_LEAFN_MAGIC,
    DIR_SPACE,
    DIR_UNUSED,
    DIR_UNUSED_TAG,
    FORMAT_LOCAL,
    SHORT_DIR,
    SHORT_DIR_LONG,
    SHORT_ENTRY,
)
from fledge_fs_xfs.volume import RawInode, Volume


class Listing(NamedTuple):
    """A directory's entries without `.` and `..`, and the parent that it names."""

    parent: int
    entries: Sequence[tuple[bytes, int]]


def read_directory(volume: Volume, inode: RawInode) -> Listing:
    """The entries of a directory."""
    try:
        if inode.data.format == FORMAT_LOCAL:
            return _read_inside(inode)
        return _Blocks(volume, inode).listing()
    except (struct.error, IndexError):
        raise Corrupt(f"directory inode {inode.ino} has a broken entry") from None


def _read_inside(inode: RawInode) -> Listing:
    area = inode.data.area[: inode.size]
    if len(area) < inode.size:
        raise Corrupt(f"directory inode {inode.ino} has {inode.size} bytes in an inode")
    head = SHORT_DIR_LONG if area[1] else SHORT_DIR
    width = 8 if area[1] else 4
    count, _, parent = head.unpack_from(area)
    at = head.size
    entries = []
    for _ in range(count):
        length, _ = SHORT_ENTRY.unpack_from(area, at)
        at += SHORT_ENTRY.size
        name = area[at : at + length]
        at += length + 1
        entries.append((name, int.from_bytes(area[at : at + width], "big")))
        at += width
    if at != inode.size:
        raise Corrupt(f"directory inode {inode.ino} has {at} bytes of entries instead of {inode.size}")
    return Listing(parent, entries)


class _Blocks:
    """A directory in blocks of its own. One of them may be several blocks of the filesystem."""

    def __init__(self, volume: Volume, inode: RawInode) -> None:
        self._volume = volume
        self._ino = inode.ino
        self._size = volume.shape.dir_block
        self._per_block = self._size >> volume.shape.block_bits
        self._blocks = volume.blocks(inode.ino, inode.data)
        self._names: list[bytes] = []
        self._inodes: list[int] = []
        self._addresses: list[int] = []
        self._index: list[tuple[int, int]] = []

    def listing(self) -> Listing:
        space = DIR_SPACE >> self._volume.shape.block_bits
        for logical in self._blocks:
            if logical % self._per_block == 0:
                (self._read_entries if logical < space else self._read_index)(logical)
        self._check_index()
        if self._names[:2] != [b".", b".."] or self._inodes[0] != self._ino:
            raise Corrupt(f"directory inode {self._ino} does not begin with itself and its parent")
        return Listing(self._inodes[1], list(zip(self._names[2:], self._inodes[2:], strict=True)))

    def _read_entries(self, logical: int) -> None:
        block, sector = self._block(logical)
        magic, _, where, _, uuid, owner = DIR_HEADER.unpack_from(block)
        known = magic in (DIR_BLOCK_MAGIC, DIR_DATA_MAGIC)
        self._check_head(known, (where, uuid, owner), sector, is_sealed(block, DIR_CRC))
        end = len(block)
        if magic == DIR_BLOCK_MAGIC:
            if self._blocks.count != self._per_block:
                raise Corrupt(f"directory inode {self._ino} has more blocks than its only one")
            count, _ = DIR_BLOCK_TAIL.unpack_from(block, end - DIR_BLOCK_TAIL.size)
            end -= DIR_BLOCK_TAIL.size + count * DIR_LEAF_ENTRY.size
            self._add_index(block, end, count)
        at = DIR_DATA_HEADER
        base = (logical << self._volume.shape.block_bits) // DIR_ADDRESS_UNIT
        while at < end:
            tag, size = DIR_UNUSED.unpack_from(block, at)
            if tag != DIR_UNUSED_TAG:
                ino, length = DIR_ENTRY.unpack_from(block, at)
                size = (length + DIR_ENTRY_EXTRA + 7) & ~7
                self._names.append(block[at + DIR_ENTRY.size :][:length])
                self._inodes.append(ino)
                self._addresses.append(base + at // DIR_ADDRESS_UNIT)
            if not size or size % 8 or at + size > end or block[at + size - 2 : at + size] != at.to_bytes(2, "big"):
                raise Corrupt(f"directory inode {self._ino} has a broken entry")
            at += size

    def _read_index(self, logical: int) -> None:
        block, sector = self._block(logical)
        if block.startswith(DIR_FREE_MAGIC):
            _, _, where, _, uuid, owner = DIR_HEADER.unpack_from(block)
            self._check_head(True, (where, uuid, owner), sector, is_sealed(block, DIR_CRC))
            return
        _, _, magic, _, _, where, _, uuid, owner = DA_HEADER.unpack_from(block)
        known = magic in (DIR_LEAF1_MAGIC, DIR_LEAFN_MAGIC, DA_NODE_MAGIC)
        self._check_head(known, (where, uuid, owner), sector, is_sealed(block, DA_CRC))
        if magic != DA_NODE_MAGIC:
            count, _ = DIR_LEAF_COUNT.unpack_from(block, DA_HEADER.size)
            self._add_index(block, DIR_LEAF_HEADER, count)

    def _add_index(self, block: bytes, start: int, count: int) -> None:
        end = start + count * DIR_LEAF_ENTRY.size
        if not DIR_DATA_HEADER <= start <= end <= len(block):
            raise Corrupt(f"directory inode {self._ino} has a broken index")
        # A stale entry has no address.
        self._index += [entry for entry in DIR_LEAF_ENTRY.iter_unpack(block[start:end]) if entry[1]]

    def _check_index(self) -> None:
        """Without the right hash in the index, a name is listed but can't be opened."""
        if sorted(self._index) != sorted(zip(hash_names(self._names), self._addresses, strict=True)):
            raise Corrupt(f"directory inode {self._ino} has an index that does not fit its entries")

    def _check_head(self, known: bool, head: tuple[int, bytes, int], sector: int, sealed: bool) -> None:
        if not known or head != (sector, self._volume.shape.uuid, self._ino):
            raise Corrupt(f"directory inode {self._ino} has a block that is none of its own")
        if not sealed:
            raise Corrupt(f"directory inode {self._ino} has a wrong checksum")

    def _block(self, logical: int) -> tuple[bytes, int]:
        """A directory's block, and what it ought to say of its place."""
        places = [self._blocks.place(logical + at) for at in range(self._per_block)]
        return b"".join(map(self._volume.at_block, places)), self._volume.sector(places[0])
