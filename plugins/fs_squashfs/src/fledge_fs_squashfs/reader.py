"""A squashfs image, ours or another's, into a tree."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fledge.tree.inode import (
    NO_XATTRS,
    BlockDevice,
    CharDevice,
    Directory,
    Fifo,
    File,
    Inode,
    Socket,
    Symlink,
)
from fledge.tree.tree import Tree

from fledge_fs_squashfs import format as fs
from fledge_fs_squashfs.contents import FragmentSource, content
from fledge_fs_squashfs.image import Cursor, Image

MAX_NAMES: Final = 4_000_000
"""The longest listing of the smallest entries would take gigabytes in memory."""

_SECOND: Final = 1_000_000_000
_HEADER: Final = fs.INODE_HEADER.size


def read_tree(path: Path) -> Tree:
    """The tree of the image at `path`. Raises BuildError when it is corrupt or beyond the limits."""
    return _TreeReader(Image(path)).read()


class _TreeReader:
    def __init__(self, image: Image) -> None:
        self._image = image
        self._superblock = image.superblock
        self._inodes: dict[int, Inode] = {}
        self._listings: dict[int, tuple[int, int, int]] = {}
        """Of the directories among the inodes: block, offset, size."""
        self._fragments: dict[int, FragmentSource] = {}
        self._xattrs: dict[int, Mapping[bytes, bytes]] = {fs.INVALID_32: NO_XATTRS}
        self._names = 0
        self._ids = self._read_ids()

    def read(self) -> Tree:
        image = self._image
        top = self._superblock.root
        root = self._inode(top)
        if not isinstance(root, Directory):
            raise image.corrupt("its root is not a directory")
        seen = {top}
        stack = [(root, top)]
        while stack:
            folder, reference = stack.pop()
            for name, below in self._entries(*self._listings[reference]):
                inode = self._inodes.get(below)
                if inode is None:
                    inode = self._inodes[below] = self._inode(below)
                if isinstance(inode, Directory):
                    if below in seen:
                        raise image.corrupt("a directory stands in it twice")
                    seen.add(below)
                    stack.append((inode, below))
                if name in folder.entries:
                    raise image.corrupt("a directory has two entries of one name")
                folder.entries[name] = inode
        return Tree(root, self._superblock.time * _SECOND)

    def _entries(self, block: int, offset: int, size: int) -> list[tuple[bytes, int]]:
        """Names and inode references of a listing."""
        entries: list[tuple[bytes, int]] = []
        left = size - fs.LISTING_EXTRA
        if left <= 0:
            return entries
        cursor = Cursor(self._image, self._superblock.directory_table + block, offset)
        unpack, take, step = fs.DIRECTORY_ENTRY.unpack, cursor.take, fs.DIRECTORY_ENTRY.size
        while left > 0:
            count, inode_block, _ = fs.DIRECTORY_HEADER.unpack(take(fs.DIRECTORY_HEADER.size))
            left -= fs.DIRECTORY_HEADER.size
            if count >= fs.DIRECTORY_HEADER_ENTRIES:
                raise self._image.corrupt(f"a directory header has {count + 1} entries")
            self._names += count + 1
            if self._names > MAX_NAMES:
                raise self._image.corrupt(f"it has more than {MAX_NAMES} names")
            for _ in range(count + 1):
                inode_offset, _, _, length = unpack(take(step))
                if length >= fs.MAX_NAME:
                    raise self._image.corrupt(f"a name has {length + 1} bytes")
                name = take(length + 1)
                left -= step + length + 1
                if b"/" in name or b"\0" in name or name in (b".", b".."):
                    raise self._image.corrupt(f"{name!r} is no name of a file")
                entries.append((name, inode_block << 16 | inode_offset))
        if left:
            raise self._image.corrupt("a directory's size is not that of its entries")
        return entries

    def _inode(self, reference: int) -> Inode:
        cursor = Cursor(self._image, self._superblock.inode_table + (reference >> 16), reference & 0xFFFF)
        header = cursor.take(_HEADER)
        kind, mode, uid, gid, mtime, _ = fs.INODE_HEADER.unpack(header)
        extended = kind > fs.EXTENDED
        kind -= fs.EXTENDED if extended else 0
        if uid >= len(self._ids) or gid >= len(self._ids):
            raise self._image.corrupt("an inode has an owner that is not in the id table")
        common = (mode & 0o7777, self._ids[uid], self._ids[gid], mtime * _SECOND)
        if kind == fs.TYPE_FILE:
            return self._file(cursor, header, extended, common)
        if kind == fs.TYPE_DIRECTORY:
            return self._directory(cursor, header, extended, common, reference)
        if kind == fs.TYPE_SYMLINK:
            *_, length = fs.SYMLINK.unpack(header + cursor.take(fs.SYMLINK.size - _HEADER))
            if not 0 < length <= fs.MAX_SYMLINK:
                raise self._image.corrupt(f"a symlink's target has {length} bytes")
            target = cursor.take(length)
            return Symlink(target, *common, self._xattrs_behind(cursor, extended))
        if kind in (fs.TYPE_CHAR_DEVICE, fs.TYPE_BLOCK_DEVICE):
            *_, number = fs.DEVICE.unpack(header + cursor.take(fs.DEVICE.size - _HEADER))
            device = CharDevice if kind == fs.TYPE_CHAR_DEVICE else BlockDevice
            return device(*fs.device_pair(number), *common, self._xattrs_behind(cursor, extended))
        if kind in (fs.TYPE_FIFO, fs.TYPE_SOCKET):
            cursor.take(fs.IPC.size - _HEADER)
            ipc = Fifo if kind == fs.TYPE_FIFO else Socket
            return ipc(*common, self._xattrs_behind(cursor, extended))
        raise self._image.corrupt(f"an inode has the unknown type {kind}")

    def _xattrs_behind(self, cursor: Cursor, extended: bool) -> Mapping[bytes, bytes]:
        return self._xattrs_of(fs.U32.unpack(cursor.take(fs.U32.size))[0]) if extended else NO_XATTRS

    def _directory(
        self, cursor: Cursor, header: bytes, extended: bool, common: tuple[int, int, int, int], reference: int
    ) -> Directory:
        xattrs = fs.INVALID_32
        if extended:
            fields = fs.LDIRECTORY.unpack(header + cursor.take(fs.LDIRECTORY.size - _HEADER))
            _, size, block, _, _, offset, xattrs = fields[6:]
        else:
            fields = fs.DIRECTORY.unpack(header + cursor.take(fs.DIRECTORY.size - _HEADER))
            block, _, size, offset, _ = fields[6:]
        self._listings[reference] = block, offset, size
        return Directory(*common, self._xattrs_of(xattrs))

    def _file(self, cursor: Cursor, header: bytes, extended: bool, common: tuple[int, int, int, int]) -> File:
        xattrs = fs.INVALID_32
        if extended:
            fields = fs.LFILE.unpack(header + cursor.take(fs.LFILE.size - _HEADER))
            start, size, _, _, fragment, offset, xattrs = fields[6:]
        else:
            fields = fs.FILE.unpack(header + cursor.take(fs.FILE.size - _HEADER))
            start, fragment, offset, size = fields[6:]
        block_size = self._superblock.block_size
        tail = fragment != fs.INVALID_32
        count = size // block_size if tail else -(-size // block_size)
        if tail and size % block_size == 0:
            raise self._image.corrupt("a file without a tail is in a fragment block")
        sizes = fs.little_endian(array("I", cursor.take(4 * count)))
        source = self._fragment(fragment) if tail else None
        return File(content(self._image, start, sizes, size, source, offset), *common, self._xattrs_of(xattrs))

    def _fragment(self, index: int) -> FragmentSource:
        found = self._fragments.get(index)
        if found is None:
            if index >= self._superblock.fragments:
                raise self._image.corrupt(f"a file is in fragment block {index}, which is not there")
            entry = self._image.table_entry(self._superblock.fragment_table, index, fs.FRAGMENT.size)
            offset, size, _ = fs.FRAGMENT.unpack(entry)
            found = self._fragments[index] = FragmentSource(self._image, offset, size)
        return found

    def _read_ids(self) -> list[int]:
        table, count = self._superblock.id_table, self._superblock.ids
        return [fs.U32.unpack(self._image.table_entry(table, index, fs.U32.size))[0] for index in range(count)]

    def _xattrs_of(self, index: int) -> Mapping[bytes, bytes]:
        found = self._xattrs.get(index)
        if found is None:
            found = self._xattrs[index] = self._read_xattrs(index)
        return found

    def _read_xattrs(self, index: int) -> dict[bytes, bytes]:
        table = self._superblock.xattr_table
        if table == fs.INVALID_TABLE:
            raise self._image.corrupt("an inode has xattrs, but there is no table of them")
        start, ids, _ = fs.XATTR_TABLE.unpack(self._image.read(table, fs.XATTR_TABLE.size))
        if index >= ids:
            raise self._image.corrupt(f"an inode has the xattrs {index}, which are not there")
        entry = self._image.table_entry(table + fs.XATTR_TABLE.size, index, fs.XATTR_ID.size)
        reference, count, _ = fs.XATTR_ID.unpack(entry)
        cursor = Cursor(self._image, start + (reference >> 16), reference & 0xFFFF)
        xattrs: dict[bytes, bytes] = {}
        size = 0
        for _ in range(count):
            kind, length = fs.XATTR_ENTRY.unpack(cursor.take(fs.XATTR_ENTRY.size))
            prefix = kind & ~fs.XATTR_OUT_OF_LINE
            if prefix >= len(fs.XATTR_PREFIXES):
                raise self._image.corrupt(f"an xattr has the unknown namespace {prefix}")
            name = fs.XATTR_PREFIXES[prefix] + cursor.take(length)
            value = self._value(cursor)
            if kind & fs.XATTR_OUT_OF_LINE:
                if len(value) != fs.U64.size:
                    raise self._image.corrupt("an xattr's reference has the wrong size")
                (reference,) = fs.U64.unpack(value)
                value = self._value(Cursor(self._image, start + (reference >> 16), reference & 0xFFFF))
            xattrs[name] = value
            size += len(name) + 1
            if size > fs.XATTR_LIST_MAX:
                raise self._image.corrupt(f"the names of an inode's xattrs take more than {fs.XATTR_LIST_MAX} bytes")
        return xattrs

    def _value(self, cursor: Cursor) -> bytes:
        (length,) = fs.XATTR_VALUE.unpack(cursor.take(fs.XATTR_VALUE.size))
        if length > fs.XATTR_VALUE_MAX:
            raise self._image.corrupt(f"an xattr has {length} bytes")
        return cursor.take(length)
