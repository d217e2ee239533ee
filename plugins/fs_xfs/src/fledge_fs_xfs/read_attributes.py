"""Reads extended attributes of all forms. Raises Corrupt where they are broken, as volume.py does."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from fledge.reading import Corrupt
from fledge.tree.inode import NO_XATTRS

from fledge_fs_xfs.checksum import is_sealed
from fledge_fs_xfs.dahash import hash_name
from fledge_fs_xfs.format import (
    ATTR_ENTRY,
    ATTR_FLAG_INCOMPLETE,
    ATTR_FLAG_LOCAL,
    ATTR_FLAG_PARENT,
    ATTR_LEAF_COUNT,
    ATTR_LEAF_HEADER,
    ATTR_LEAF_MAGIC,
    ATTR_LOCAL,
    ATTR_MAX_VALUE,
    ATTR_REMOTE,
    ATTR_REMOTE_MAGIC,
    DA_CRC,
    DA_HEADER,
    DA_MAX_DEPTH,
    DA_NODE_COUNT,
    DA_NODE_ENTRY,
    DA_NODE_HEADER,
    DA_NODE_MAGIC,
    FORMAT_LOCAL,
    REMOTE_CRC,
    REMOTE_HEADER,
)
from fledge_fs_xfs.volume import RawInode, Volume
from fledge_fs_xfs.xattrs import Attribute, read_inside, show


def read_attributes(volume: Volume, inode: RawInode) -> Mapping[bytes, bytes]:
    """The attributes by full name."""
    fork = inode.attributes
    if not fork.area:
        return NO_XATTRS
    try:
        stored = read_inside(fork.area) if fork.format == FORMAT_LOCAL else _Blocks(volume, inode).attributes()
        return dict(show(one) for one in stored if not one.flags & _HIDDEN) or NO_XATTRS
    except (ValueError, struct.error, IndexError) as error:
        raise Corrupt(f"inode {inode.ino} has broken extended attributes: {error}") from None


_HIDDEN = ATTR_FLAG_PARENT | ATTR_FLAG_INCOMPLETE
"""Names by which newer kernels find a file's folders, and attributes that a crash left half made."""


class _Blocks:
    def __init__(self, volume: Volume, inode: RawInode) -> None:
        self._volume = volume
        self._ino = inode.ino
        self._blocks = volume.blocks(inode.ino, inode.attributes)
        self._taken: set[int] = set()
        self._hash = 0

    def attributes(self) -> Iterator[Attribute]:
        """Those of all leaves, from left to right. An inode whose attributes were all removed may have no block."""
        if not self._blocks.count:
            return
        logical = 0
        for _ in range(DA_MAX_DEPTH):
            block, magic, _, _ = self._tree_block(logical)
            if magic != DA_NODE_MAGIC:
                break
            count, _ = DA_NODE_COUNT.unpack_from(block, DA_HEADER.size)
            if not count:
                raise ValueError("a node without entries")
            _, logical = DA_NODE_ENTRY.unpack_from(block, DA_NODE_HEADER)
        before = 0
        while True:
            self._take(logical)
            block, magic, after, back = self._tree_block(logical)
            if magic != ATTR_LEAF_MAGIC:
                raise ValueError("a tree that is too deep")
            if back != before:
                raise ValueError("leaves out of order")
            yield from self._leaf(block)
            if not after:
                break
            before, logical = logical, after

    def _leaf(self, block: bytes) -> Iterator[Attribute]:
        count = ATTR_LEAF_COUNT.unpack_from(block, DA_HEADER.size)[0]
        room = len(block)
        for index in range(count):
            hashed, at, flags = ATTR_ENTRY.unpack_from(block, ATTR_LEAF_HEADER + index * ATTR_ENTRY.size)
            if hashed < self._hash:
                raise ValueError("hashes out of order")
            self._hash = hashed
            if flags & ATTR_FLAG_INCOMPLETE:
                continue
            form = ATTR_LOCAL if flags & ATTR_FLAG_LOCAL else ATTR_REMOTE
            *place, length, name_length = form.unpack_from(block, at)
            middle = at + form.size + name_length
            end = middle if place else middle + length
            room -= end - at
            if end > len(block) or room < 0:
                raise ValueError("one beyond its block or upon another one")
            name = block[middle - name_length : middle]
            # A parent's name is hashed together with the parent's number.
            if hashed != hash_name(name) and not flags & ATTR_FLAG_PARENT:
                raise ValueError("a name that its hash does not find")
            value = self._remote(place[0], length) if place else block[middle:end]
            yield Attribute(name, flags & ~ATTR_FLAG_LOCAL, value)

    def _remote(self, logical: int, length: int) -> bytes:
        """A value in blocks of its own."""
        if length > ATTR_MAX_VALUE:
            raise ValueError(f"a value of {length} bytes")
        parts = []
        done = 0
        while done < length:
            self._take(logical)
            place = self._blocks.place(logical)
            block = self._volume.at_block(place)
            magic, offset, size, _, uuid, owner, sector, _ = REMOTE_HEADER.unpack_from(block)
            expected = ATTR_REMOTE_MAGIC, done, self._volume.shape.uuid, self._ino, self._volume.sector(place)
            if (magic, offset, uuid, owner, sector) != expected:
                raise ValueError("a value's block that is another one's")
            if not is_sealed(block, REMOTE_CRC):
                raise ValueError("a wrong checksum")
            if not 0 < size <= len(block) - REMOTE_HEADER.size:
                raise ValueError(f"a part of {size} bytes of a value")
            parts.append(block[REMOTE_HEADER.size :][:size])
            done += size
            logical += 1
        if done != length:
            raise ValueError(f"a value of {done} bytes instead of {length}")
        return b"".join(parts)

    def _tree_block(self, logical: int) -> tuple[bytes, int, int, int]:
        """A node or leaf, its magic, and the blocks behind and before it."""
        place = self._blocks.place(logical)
        block = self._volume.at_block(place)
        after, back, magic, _, _, sector, _, uuid, owner = DA_HEADER.unpack_from(block)
        if (sector, uuid, owner) != (self._volume.sector(place), self._volume.shape.uuid, self._ino):
            raise ValueError("a block that is another one's")
        if not is_sealed(block, DA_CRC):
            raise ValueError("a wrong checksum")
        return block, magic, after, back

    def _take(self, logical: int) -> None:
        """A block is one leaf or a part of one value: a value that many attributes share would fill the memory."""
        if logical in self._taken:
            raise ValueError("a block that is read twice")
        self._taken.add(logical)
