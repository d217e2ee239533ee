"""Writes a tree as a filesystem, in rising order: inodes, other metadata, contents."""

from __future__ import annotations

from itertools import islice

from fledge.blocks import copies, data_runs, extents_of
from fledge.output import ArtifactFile, Copy
from fledge.progress import Progress
from fledge.tree.content import Content
from fledge.tree.inode import Device, Directory, File, Inode, Symlink

from fledge_fs_xfs import bmap, directory, groups, log
from fledge_fs_xfs.bmap import NO_EXTENTS, Fork
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.format import (
    BLOCK,
    BLOCK_BITS,
    DEVICE_MINOR_BITS,
    EXTENT,
    FILE_TYPES,
    FLAG_NEWRTBM,
    FORMAT_DEV,
    FORMAT_EXTENTS,
    FORMAT_LOCAL,
    LITERAL,
    MAX_EXTENT,
    NULL_LONG,
    REMOTE_CRC,
    REMOTE_HEADER,
    SECTORS_PER_BLOCK,
    SYMLINK_MAGIC,
)
from fledge_fs_xfs.geometry import Geometry
from fledge_fs_xfs.inode_table import InodeTable
from fledge_fs_xfs.metadata import MetadataBlocks
from fledge_fs_xfs.survey import RESERVED, Stored, Survey


class Writer:
    """One filesystem. `write` may be called once."""

    def __init__(self, target: ArtifactFile, found: Survey, shape: Geometry, progress: Progress) -> None:
        self._target = target
        self._found = found
        self._shape = shape
        self._progress = progress
        front = shape.allocator()
        self._data = front.ahead(found.metadata_blocks)
        self._first_data = self._data.cursor
        self._metadata = MetadataBlocks(target, shape, front, found.uuid)
        self._table = InodeTable(target, shape, found.uuid)
        root, *numbers = islice(shape.inode_numbers(), found.inode_count)
        self._numbers = [root, *numbers[RESERVED:]]
        # What stands in an inode has 32 bits for a number; these stand in the first blocks of the image.
        assert self._numbers[-1] < 1 << 32
        self._types = [FILE_TYPES[inode.FORMAT] for inode in found.inodes]
        self._copies: list[Copy] = []

    def write(self) -> None:
        """Writes everything; the target is to be finished at the geometry's size."""
        inodes = self._found.inodes
        self._put(0, inodes[0])
        for flags in (FLAG_NEWRTBM, 0):
            self._table.put(0o100000, 0, 0, 0, 0, 1, NO_EXTENTS, flags=flags)
        for index in range(1, len(inodes)):
            self._put(index, inodes[index])
        self._table.finish()
        self._metadata.flush()
        self._describe()
        self._target.settled(self._first_data << BLOCK_BITS)
        self._copy_contents()

    def _describe(self) -> None:
        shape, metadata = self._shape, self._metadata.used()
        assert not metadata or sum(metadata[-1]) <= self._first_data
        self._target.write(shape.log_start << BLOCK_BITS, log.clean(self._found.uuid))
        used = sorted([*shape.fixed(), *metadata, *self._data.used()])
        groups.write(self._target, groups.Description(shape, self._found.uuid, used, self._found.inode_count))

    def _put(self, index: int, inode: Inode) -> None:
        ino = self._numbers[index]
        size = 0
        stored = self._found.xattrs.get(index) if inode.xattrs else None
        room = LITERAL if stored is None else stored.data_fork
        if isinstance(inode, File):
            size = inode.content.size
            data = self._map_content(ino, inode.content, room)
        elif isinstance(inode, Directory):
            data, size = self._place_directory(index, ino, room)
        elif isinstance(inode, Symlink):
            size = len(inode.target)
            data = self._place_target(ino, inode.target, room)
        elif isinstance(inode, Device):
            data = Fork(FORMAT_DEV, _device(inode.major, inode.minor), 0, 0)
        else:
            data = Fork(FORMAT_DEV, _device(0, 0), 0, 0)
        attributes, data_fork = (NO_EXTENTS, 0) if stored is None else (self._place_xattrs(ino, stored), room)
        self._table.put(
            inode.FORMAT | inode.mode,
            inode.uid,
            inode.gid,
            inode.mtime,
            size,
            self._found.links[index],
            data,
            attributes,
            data_fork,
        )

    def _map_content(self, ino: int, content: Content, room: int) -> Fork:
        """Gives the content its blocks."""
        pieces = content.pieces
        size = content.size
        if not pieces or not size:
            return NO_EXTENTS
        if len(pieces) == 1 and pieces[0].length == size and size <= MAX_EXTENT << BLOCK_BITS:
            count = (size + BLOCK - 1) >> BLOCK_BITS
            runs = self._data.take(count)
            if len(runs) == 1:
                piece = pieces[0]
                start = runs[0][0]
                self._copies.append((start << BLOCK_BITS, piece.source, piece.start, size))
                address = self._shape.address(start)
                return Fork(FORMAT_EXTENTS, EXTENT.pack(address >> 43, address << 21 & NULL_LONG | count), 1, count)
            placed = list(extents_of(0, runs, MAX_EXTENT))
        else:
            placed = []
            for logical, count in data_runs(content, BLOCK_BITS):
                placed.extend(extents_of(logical, self._data.take(count), MAX_EXTENT))
        self._copies.extend(copies(content, placed, BLOCK_BITS))
        return bmap.fork(placed, room, ino, self._metadata)

    def _place_directory(self, index: int, ino: int, room: int) -> tuple[Fork, int]:
        """The fork of its entries, and di_size."""
        numbers, types = self._numbers, self._types
        parent = numbers[self._found.parents[index]]
        entries = [(name, numbers[child], types[child]) for name, child in self._found.listings[index]]
        shape = self._found.shapes.get(index)
        if shape is None:
            listing = directory.list_inside(entries, parent)
            return Fork(FORMAT_LOCAL, listing, 0, 0), len(listing)
        extents = directory.write(entries, ino, parent, shape, self._metadata)
        return bmap.fork(extents, room, ino, self._metadata), shape.data * BLOCK

    def _place_target(self, ino: int, target: bytes, room: int) -> Fork:
        if len(target) <= room:
            return Fork(FORMAT_LOCAL, target, 0, 0)
        (block,) = self._metadata.take(1)
        where = ino, block * SECTORS_PER_BLOCK, 0
        head = REMOTE_HEADER.pack(SYMLINK_MAGIC, 0, len(target), 0, self._found.uuid, *where)
        self._metadata.put(block, seal((head + target).ljust(BLOCK, b"\0"), REMOTE_CRC))
        return bmap.fork([(0, block, 1)], room, ino, self._metadata)

    def _place_xattrs(self, ino: int, stored: Stored) -> Fork:
        if stored.blocks is None:
            return Fork(FORMAT_LOCAL, stored.inside, 0, 0)
        extents = stored.blocks.write(ino, self._metadata)
        return bmap.fork(extents, LITERAL - stored.data_fork, ino, self._metadata)

    def _copy_contents(self) -> None:
        with self._progress.stage("writing xfs", sum(run[3] for run in self._copies)) as stage:
            self._target.copy_settling(self._copies, stage.advance)


def _device(major: int, minor: int) -> bytes:
    """14 and 18 bits, of which Linux uses the last nine of the first (xfs_vn_mknod)."""
    return (major << DEVICE_MINOR_BITS | minor).to_bytes(4, "big")
