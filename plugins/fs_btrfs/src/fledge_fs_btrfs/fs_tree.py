"""The tree of the files: an inode's items, one kind after the other, and where its data go."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.tree.content import Content, Source
from fledge.tree.inode import Device, Directory, File, Symlink

from fledge_fs_btrfs.contents import Copy, Extent, copies, data_runs
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
    MAX_INLINE,
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
_TIME_MIN, _TIME_MAX = -(1 << 63), (1 << 63) - 1
_ONE: tuple[int, list[Item]] = (1, [])
_RELEASE = 256
"""Inline contents after which their sources are released: a fault may map many pages around the one it is for."""


class FsTree:
    """Writes the items of every inode, and remembers what that asks of the data and of the extent tree."""

    def __init__(self, found: Survey, space: DataSpace, tree: TreeWriter) -> None:
        self._found = found
        self._space = space
        self._tree = tree
        self.copies: list[Copy] = []
        """By rising offset in the image."""
        self.extents: list[DataExtent] = []
        """By rising bytenr."""

    def write(self) -> None:
        """All items; the tree is still to be finished."""
        found, add = self._found, self._tree.add
        pack_inode, pack_ref = INODE.pack, REF.pack
        inline = _InlineReader()
        for ino, (inode, (parent, index, name)) in enumerate(zip(found.inodes, found.names, strict=True), FIRST_INO):
            size = occupied = device = 0
            extents: Sequence[Extent] = ()
            data = b""
            if isinstance(inode, File):
                content = inode.content
                size = content.size
                if size > MAX_INLINE:
                    extents = self._place(ino, content)
                    occupied = sum([extent[2] for extent in extents]) << SECTOR_BITS
                elif content.pieces:
                    data = inline.read(content)
                    occupied = size
            elif isinstance(inode, Directory):
                size = found.folders[ino].size
            elif isinstance(inode, Symlink):
                data = inode.target
                size = occupied = len(data)
            elif isinstance(inode, Device):
                device = inode.major << 20 | inode.minor
            seconds, nanoseconds = divmod(inode.mtime, _SECOND)
            if not _TIME_MIN <= seconds <= _TIME_MAX:
                seconds, nanoseconds = (_TIME_MIN, 0) if seconds < 0 else (_TIME_MAX, _SECOND - 1)
            links, references = found.references.get(ino, _ONE)
            time = (seconds, nanoseconds)
            item = pack_inode(
                GENERATION,
                GENERATION,
                size,
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
            for kind, offset, refs in references:
                add(ino, kind, offset, refs)
            if inode.xattrs:
                for offset, item in found.xattrs[ino]:
                    add(ino, XATTR_ITEM, offset, item)
            if isinstance(inode, Directory):
                folder = found.folders[ino]
                for offset, entry in folder.by_hash:
                    add(ino, DIR_ITEM, offset, entry)
                for offset, entry in enumerate(folder.entries, FIRST_INDEX):
                    add(ino, DIR_INDEX, offset, entry)
            elif data:
                add(ino, EXTENT_DATA, 0, FILE_EXTENT.pack(GENERATION, len(data), 0, 0, 0, INLINE) + data)
            else:
                for first, start, count in extents:
                    add(
                        ino, EXTENT_DATA, first << SECTOR_BITS, _file_extent(start << SECTOR_BITS, count << SECTOR_BITS)
                    )
        inline.release()

    def _place(self, ino: int, content: Content) -> Sequence[Extent]:
        """Gives the content its sectors."""
        pieces, size = content.pieces, content.size
        if len(pieces) == 1 and pieces[0].length == size:
            count = (size + SECTOR - 1) >> SECTOR_BITS
            runs = self._space.take(count)
            if len(runs) == 1:
                piece, start = pieces[0], runs[0][0]
                self.copies.append((start << SECTOR_BITS, piece.source, piece.start, size))
                self.extents.append((start << SECTOR_BITS, count << SECTOR_BITS, ino, 0))
                return ((0, start, count),)
            wanted = [(0, runs)]
        else:
            wanted = [(first, self._space.take(count)) for first, count in data_runs(content)]
        placed: list[Extent] = []
        for first, runs in wanted:
            for start, count in runs:
                placed.append((first, start, count))
                self.extents.append((start << SECTOR_BITS, count << SECTOR_BITS, ino, first << SECTOR_BITS))
                first += count
        self.copies.extend(copies(content, placed))
        return placed


def _file_extent(start: int, length: int) -> bytes:
    return REGULAR_EXTENT.pack(GENERATION, length, 0, 0, 0, REGULAR, start, length, 0, length)


class _InlineReader:
    """Reads small contents, and gives the layers' mapped pages back now and then."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[Source, int, int]] = {}
        self._reads = 0

    def read(self, content: Content) -> bytes:
        pieces = content.pieces
        if len(pieces) != 1 or pieces[0].length != content.size:
            return content.read()
        piece = pieces[0]
        source, start, end = piece.source, piece.start, piece.start + piece.length
        data = bytes(source.view(start, piece.length))
        span = self._spans.get(id(source))
        self._spans[id(source)] = (source, min(start, span[1]), max(end, span[2])) if span else (source, start, end)
        self._reads += 1
        if self._reads % _RELEASE == 0:
            self.release()
        return data

    def release(self) -> None:
        for source, start, end in self._spans.values():
            source.release(start, end - start)
        self._spans.clear()
