"""Makes a tree of a btrfs image, without mounting it: ours, and those that mkfs.btrfs makes and the kernel writes to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

from fledge.reading import Corrupt, add_piece, reading, stored_inode
from fledge.tree.content import Content, MemorySource, Piece, Source
from fledge.tree.inode import NO_XATTRS, Directory, Inode
from fledge.tree.tree import Tree

from fledge_fs_btrfs.checksum import name_hash
from fledge_fs_btrfs.format import (
    COMPRESSIONS,
    CSUM_TREE,
    DIR_INDEX,
    DIR_ITEM,
    ENTRY,
    EXTENT_DATA,
    FILE_EXTENT,
    FIRST_INO,
    FLAG_NODATASUM,
    INLINE,
    INODE,
    INODE_ITEM,
    MAX_FILE,
    MAX_SYMLINK,
    PREALLOCATED,
    REGULAR_EXTENT,
    ROOT_ITEM,
    ROOT_TREE_DIR,
    XATTR_ITEM,
)
from fledge_fs_btrfs.verified_data import VerifiedData
from fledge_fs_btrfs.volume import Item, Root, Volume, parse_root

_LAST_INO = (1 << 64) - 257
_SECOND = 1_000_000_000


def read_tree(path: Path) -> Tree:
    """The tree of the image's default subvolume; contents are read and checked when they are asked for.

    Raises BuildError when it can't be read or is corrupt.
    """
    with reading(path, "a btrfs image"):
        return _Reader(path).tree()


class _Raw:
    """An inode's items."""

    __slots__ = ("by_index", "by_name", "extents", "item", "xattrs")

    def __init__(self, item: tuple[int, ...]) -> None:
        self.item = item
        self.xattrs: dict[bytes, bytes] = {}
        self.by_name: dict[bytes, int] = {}
        self.by_index: dict[bytes, int] = {}
        self.extents: list[tuple[int, bytes]] = []


class _Reader:
    def __init__(self, path: Path) -> None:
        self._volume = Volume(path)
        roots, default = self._roots()
        if default not in roots or CSUM_TREE not in roots:
            raise Corrupt("it has no tree of files or none of checksums")
        self._files = roots[default]
        self._data = VerifiedData(path, self._volume, roots[CSUM_TREE])
        self._inodes: dict[int, Inode] = {}
        self._entries: dict[int, dict[bytes, int]] = {}
        self._links: dict[int, int] = {}

    def tree(self) -> Tree:
        self._read_inodes()
        self._volume.source.release(0, self._volume.source.size)
        root = self._inodes.get(FIRST_INO)
        if not isinstance(root, Directory):
            raise Corrupt("its root is not a directory")
        named: dict[int, int] = {}
        stack = [(FIRST_INO, root)]
        while stack:
            ino, folder = stack.pop()
            for name, child in self._entries.pop(ino, {}).items():
                inode = self._inodes.get(child)
                if inode is None:
                    raise Corrupt(f"directory inode {ino} leads to inode {child}, which is not there")
                named[child] = named.get(child, 0) + 1
                if isinstance(inode, Directory):
                    if named[child] > 1 or child == FIRST_INO:
                        raise Corrupt(f"directory inode {child} has two names")
                    stack.append((child, inode))
                folder.entries[name] = inode
        for ino, count in named.items():
            if count != self._links[ino]:
                raise Corrupt(f"inode {ino} has {count} names instead of {self._links[ino]}")
        return Tree(root, epoch=root.mtime)

    def _roots(self) -> tuple[dict[int, Root], int]:
        """Where each tree is, and which one is mounted."""
        roots: dict[int, Root] = {}
        default = 0
        for objectid, kind, _, data in self._volume.items(self._volume.root):
            if kind == ROOT_ITEM:
                roots[objectid] = parse_root(objectid, data)
            elif (objectid, kind) == (ROOT_TREE_DIR, DIR_ITEM):
                default = next((child for name, child, _, _, _ in _entries(data) if name == b"default"), default)
        return roots, default

    def _read_inodes(self) -> None:
        ino = -1
        raw: _Raw | None = None
        for item in self._volume.items(self._files):
            objectid = item[0]
            if objectid != ino:
                if raw is not None:
                    self._add(ino, raw)
                raw = None
                ino = objectid
            if not FIRST_INO <= objectid <= _LAST_INO:
                continue
            if item[1] == INODE_ITEM:
                if len(item[3]) != INODE.size:
                    raise Corrupt(f"inode {ino} has {len(item[3])} bytes")
                raw = _Raw(INODE.unpack(item[3]))
            elif raw is None:
                raise Corrupt(f"inode {ino} is not there, but something of it is")
            else:
                _read_item(raw, item)
        if raw is not None:
            self._add(ino, raw)

    def _add(self, ino: int, raw: _Raw) -> None:
        size, links, uid, gid, format_and_mode, device, flags = (raw.item[i] for i in (2, 5, 6, 7, 8, 9, 10))
        seconds, nanoseconds = raw.item[16:18]
        mtime = seconds * _SECOND + nanoseconds
        if nanoseconds >= _SECOND or format_and_mode >> 16 or size > MAX_FILE:
            raise Corrupt(f"inode {ino} has a time, a mode or a size that can't be")
        if raw.by_name != raw.by_index or (raw.by_name and not S_ISDIR(format_and_mode)):
            raise Corrupt(f"the two lists of the names in inode {ino} differ")
        inode = stored_inode(
            ino,
            format_and_mode,
            uid,
            gid,
            mtime,
            raw.xattrs or NO_XATTRS,
            content=lambda: self._content(ino, size, flags, raw.extents),
            target=lambda: self._target(ino, size, raw.extents),
            device=lambda: _device(ino, device),
        )
        if isinstance(inode, Directory):
            self._entries[ino] = raw.by_index
        self._inodes[ino] = inode
        self._links[ino] = links

    def _content(self, ino: int, size: int, flags: int, extents: list[tuple[int, bytes]]) -> Content:
        pieces: list[Piece] = []
        end = 0
        for offset, item in extents:
            if offset < end:
                raise Corrupt(f"the extents of inode {ino} overlap")
            length, source, start = self._extent(ino, flags, item)
            end = offset + length
            length = min(length, size - offset)
            if source is None or length <= 0:
                continue
            if source is self._data and self._volume.begins_chunk(start):
                # In the image, the chunk with the next addresses may stand anywhere.
                pieces.append(Piece(offset, source, start, length))
            else:
                add_piece(pieces, offset, source, start, length)
        return Content(size, pieces)

    def _extent(self, ino: int, flags: int, item: bytes) -> tuple[int, Source | None, int]:
        """How long it is in the file, and where its bytes are; a source of None: zeros."""
        if len(item) < FILE_EXTENT.size:
            raise Corrupt(f"inode {ino} has an extent of {len(item)} bytes")
        _, memory, compression, encryption, encoding, kind = FILE_EXTENT.unpack_from(item)
        if compression:
            name = COMPRESSIONS.get(compression, compression)
            raise Corrupt(f"inode {ino} is compressed with {name}, which is not supported")
        if encryption or encoding or kind > PREALLOCATED:
            raise Corrupt(f"inode {ino} has an extent of an unknown kind")
        if kind == INLINE:
            data = item[FILE_EXTENT.size :]
            if len(data) != memory:
                raise Corrupt(f"inode {ino} has an inline extent of the wrong length")
            return len(data), MemorySource(data), 0
        if len(item) != REGULAR_EXTENT.size:
            raise Corrupt(f"inode {ino} has an extent of {len(item)} bytes")
        *_, address, disk_length, skip, length = REGULAR_EXTENT.unpack(item)
        if (address | disk_length | skip | length) % self._volume.sector or not length:
            raise Corrupt(f"inode {ino} has an extent that is not made of sectors")
        if not address or kind == PREALLOCATED:
            return length, None, 0
        if skip + length > disk_length:
            raise Corrupt(f"inode {ino} has an extent that ends behind its data")
        offset = self._volume.offset(address + skip, length)
        if flags & FLAG_NODATASUM:
            return length, self._volume.source, offset
        return length, self._data, address + skip

    def _target(self, ino: int, size: int, extents: list[tuple[int, bytes]]) -> bytes:
        target = self._content(ino, size, 0, extents)
        if not 0 < size <= MAX_SYMLINK or target.is_sparse or len(extents) != 1:
            raise Corrupt(f"symlink inode {ino} points to {size} bytes")
        return target.read()


def _device(ino: int, encoded: int) -> tuple[int, int]:
    major, minor = encoded >> 20, encoded & 0xFFFFF
    if major > 0xFFF:
        raise Corrupt(f"inode {ino} is the device {encoded:#x}")
    return major, minor


def _read_item(raw: _Raw, item: Item) -> None:
    ino, kind, offset, data = item
    if kind == EXTENT_DATA:
        raw.extents.append((offset, data))
    elif kind in (DIR_ITEM, DIR_INDEX):
        names = raw.by_name if kind == DIR_ITEM else raw.by_index
        for name, child, location, _, _ in _entries(data):
            if location != INODE_ITEM:
                raise Corrupt(f"directory inode {ino} has the subvolume {name!r}, which is not supported")
            if not name or b"/" in name or b"\0" in name or name in (b".", b"..") or name in names:
                raise Corrupt(f"directory inode {ino} has the name {name!r}, which can't be")
            if kind == DIR_ITEM and name_hash(name) != offset:
                raise Corrupt(f"directory inode {ino} has the name {name!r} in the wrong place")
            names[name] = child
    elif kind == XATTR_ITEM:
        for name, _, _, _, value in _entries(data):
            if not name or b"\0" in name or name in raw.xattrs or name_hash(name) != offset:
                raise Corrupt(f"inode {ino} has the extended attribute {name!r}, which can't be")
            raw.xattrs[name] = value


def _entries(data: bytes) -> Iterator[tuple[bytes, int, int, int, bytes]]:
    """Name, objectid and type of the location, type, value."""
    at = 0
    while at < len(data):
        try:
            objectid, location, _, _, value_length, length, kind = ENTRY.unpack_from(data, at)
        except struct.error:
            raise Corrupt("a directory's entry is cut short") from None
        at += ENTRY.size
        end = at + length + value_length
        if end > len(data):
            raise Corrupt("a directory's entry is cut short")
        yield data[at : at + length], objectid, location, kind, data[at + length : end]
        at = end
