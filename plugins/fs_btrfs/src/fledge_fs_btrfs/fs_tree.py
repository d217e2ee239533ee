"""The tree of the files: an inode's items, one kind after the other, and where its data go."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.blocks import Extent, copies, data_runs, extents_of
from fledge.output import Copy
from fledge.tree.content import Content, Views
from fledge.tree.inode import Device, File, Inode, Symlink

from fledge_fs_btrfs.format import (
    DIR_INDEX,
    DIR_ITEM,
    EXTENT_DATA,
    FILE_EXTENT,
    FIRST_INDEX,
    FIRST_INO,
    GENERATION,
    INLINE,
    INODE,
    INODE_ITEM,
    INODE_REF,
    MAX_EXTENT,
    MAX_INLINE,
    MTIME_MAX,
    MTIME_MIN,
    REF,
    REGULAR,
    REGULAR_EXTENT,
    SECTOR,
    SECTOR_BITS,
    XATTR_ITEM,
)
from fledge_fs_btrfs.links import Item
from fledge_fs_btrfs.space import DataSpace
from fledge_fs_btrfs.survey import Survey
from fledge_fs_btrfs.tree_writer import TreeWriter

DataExtent = tuple[int, int, int, int]
"""Bytenr, length, the inode number it belongs to, and its offset in the file; all but the number in bytes."""

_SECOND = 1_000_000_000
_ONE: tuple[int, list[Item]] = (1, [])
_LONGEST = MAX_EXTENT // SECTOR
_RELEASE = 256
"""Inline contents after which their sources are released: a fault may map many pages around the one it is for."""


class FsTree:
    """Writes the items of every inode, and remembers what that asks of the data and of the extent tree."""

    def __init__(self, found: Survey, space: DataSpace, tree: TreeWriter) -> None:
        self._found = found
        self._space = space
        self._tree = tree
        self._inline = _InlineReader()
        self.copies: list[Copy] = []
        """By rising offset in the image."""
        self.extents: list[DataExtent] = []
        """By rising bytenr."""

    def write(self) -> None:
        """All items; the tree is still to be finished."""
        found, add = self._found, self._tree.add
        pack_inode, pack_ref = INODE.pack, REF.pack
        for ino, (inode, (parent, index, name)) in enumerate(zip(found.inodes, found.names, strict=True), FIRST_INO):
            folder = found.folders.get(ino)
            size, occupied, device, extents = self._contents(ino, inode)
            links, references = found.references.get(ino, _ONE)
            mtime = inode.mtime
            if not MTIME_MIN <= mtime <= MTIME_MAX:
                mtime = MTIME_MIN if mtime < 0 else MTIME_MAX
            time = divmod(mtime, _SECOND)
            item = pack_inode(
                GENERATION,
                GENERATION,
                folder.size if folder else size,
                occupied,
                0,
                links,
                inode.uid,
                inode.gid,
                inode.FORMAT | inode.mode,
                device,
                0,
                0,
                *time,
                *time,
                *time,
                *time,
            )
            add(ino, INODE_ITEM, 0, item)
            if not references:
                add(ino, INODE_REF, parent, pack_ref(index, len(name)) + name)
            for kind, offset, item in references:
                add(ino, kind, offset, item)
            if inode.xattrs:
                for offset, item in found.xattrs[ino]:
                    add(ino, XATTR_ITEM, offset, item)
            if folder:
                for offset, item in folder.by_hash:
                    add(ino, DIR_ITEM, offset, item)
                for offset, item in enumerate(folder.entries, FIRST_INDEX):
                    add(ino, DIR_INDEX, offset, item)
            for offset, item in extents:
                add(ino, EXTENT_DATA, offset, item)
        self._inline.release()

    def _contents(self, ino: int, inode: Inode) -> tuple[int, int, int, Sequence[tuple[int, bytes]]]:
        """The size, the bytes that it takes, the device's number, and the EXTENT_DATA items."""
        if isinstance(inode, File):
            content = inode.content
            size = content.size
            if size > MAX_INLINE:
                placed = self._place(ino, content)
                items = [
                    (first << SECTOR_BITS, _file_extent(start << SECTOR_BITS, count << SECTOR_BITS))
                    for first, start, count in placed
                ]
                return size, sum([count for _, _, count in placed]) << SECTOR_BITS, 0, items
            if content.pieces and size:
                return size, size, 0, _inline_extent(self._inline.read(content))
            return size, 0, 0, ()
        if isinstance(inode, Symlink):
            size = len(inode.target)
            return size, size, 0, _inline_extent(inode.target)
        if isinstance(inode, Device):
            return 0, 0, inode.major << 20 | inode.minor, ()
        return 0, 0, 0, ()

    def _place(self, ino: int, content: Content) -> Sequence[Extent]:
        """Gives the content its sectors."""
        pieces, size = content.pieces, content.size
        if len(pieces) == 1 and pieces[0].length == size:
            count = (size + SECTOR - 1) >> SECTOR_BITS
            runs = self._space.take(count)
            if len(runs) == 1 and count <= _LONGEST:
                piece, start = pieces[0], runs[0][0]
                self.copies.append((start << SECTOR_BITS, piece.source, piece.start, size))
                self.extents.append((start << SECTOR_BITS, count << SECTOR_BITS, ino, 0))
                return ((0, start, count),)
            wanted = [(0, runs)]
        else:
            wanted = [(first, self._space.take(count)) for first, count in data_runs(content, SECTOR_BITS)]
        placed = [extent for first, runs in wanted for extent in extents_of(first, runs, _LONGEST)]
        self.extents += [
            (start << SECTOR_BITS, count << SECTOR_BITS, ino, first << SECTOR_BITS) for first, start, count in placed
        ]
        self.copies.extend(copies(content, placed, SECTOR_BITS))
        return placed


def _inline_extent(data: bytes) -> Sequence[tuple[int, bytes]]:
    return ((0, FILE_EXTENT.pack(GENERATION, len(data), 0, 0, 0, INLINE) + data),)


def _file_extent(start: int, length: int) -> bytes:
    return REGULAR_EXTENT.pack(GENERATION, length, 0, 0, 0, REGULAR, start, length, 0, length)


class _InlineReader(Views):
    """Reads small contents, and gives the layers' mapped pages back now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._reads = 0

    def read(self, content: Content) -> bytes:
        pieces = content.pieces
        if len(pieces) != 1 or pieces[0].length != content.size:
            return content.read()
        piece = pieces[0]
        data = bytes(self.view(piece.source, piece.start, piece.length))
        self._reads += 1
        if self._reads % _RELEASE == 0:
            self.release()
        return data
