"""Writes a tree as a filesystem, in rising order: tables, journal, metadata blocks, contents."""

from __future__ import annotations

import struct

from fledge.blocks import Allocator, Extent, Run, copies, data_runs, extents_of
from fledge.identity import derived_uuid
from fledge.output import Copy, ImageFile
from fledge.progress import Progress
from fledge.tree.content import Content
from fledge.tree.inode import Device, Directory, File, Inode, Symlink

from fledge_fs_ext4 import extents, journal, superblock, xattrs
from fledge_fs_ext4.checksum import inode_seed
from fledge_fs_ext4.directory import seal_list
from fledge_fs_ext4.format import (
    BLOCK,
    BLOCK_BITS,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_MAGIC,
    EXTENTS_IN_INODE,
    FAST_SYMLINK,
    FLAG_EXTENTS,
    FLAG_INDEX,
    INODE_MAP,
    JOURNAL_INO,
    MAX_EXTENT,
    MAX_LINKS,
    RESIZE_INO,
    SECTORS_PER_BLOCK,
)
from fledge_fs_ext4.geometry import Geometry
from fledge_fs_ext4.inode_table import InodeTable
from fledge_fs_ext4.survey import Survey, number

_ONE_EXTENT = struct.Struct(EXTENT_HEADER.format + EXTENT.format[1:])
_NO_EXTENTS = EXTENT_HEADER.pack(EXTENT_MAGIC, 0, EXTENTS_IN_INODE, 0, 0)
_INDIRECT_REACH = 12 + BLOCK // 4 + (BLOCK // 4) ** 2
"""Blocks that the direct, the indirect and the doubly indirect blocks of an inode map: the resize inode's size."""


class _Metadata:
    """The blocks of directories, xattrs, symlinks and extent trees: written many at once."""

    def __init__(self, target: ImageFile, allocator: Allocator) -> None:
        self._target = target
        self._allocator = allocator
        self._first = allocator.cursor
        self._blocks: list[bytes] = []

    def place(self, block: bytes) -> int:
        """Writes a block, and tells where it went."""
        ((start, _),) = self._allocator.take(1)
        if start != self._first + len(self._blocks) or len(self._blocks) >= 256:
            self.flush()
            self._first = start
        self._blocks.append(block)
        return start

    def upcoming(self) -> int:
        """Where the next block will go."""
        return self._allocator.upcoming()

    def used(self) -> list[Run]:
        """Every run that was written."""
        return self._allocator.used()

    def flush(self) -> None:
        """Writes what is gathered."""
        if self._blocks:
            self._target.writev(self._first << BLOCK_BITS, self._blocks)
        self._blocks = []


class Writer:
    """One filesystem. `write` may be called once."""

    def __init__(self, target: ImageFile, found: Survey, shape: Geometry, time: int, progress: Progress) -> None:
        """`time`: seconds, for all times of the filesystem itself."""
        self._target = target
        self._found = found
        self._shape = shape
        self._time = time
        self._progress = progress
        self._seed = found.checksum_seed
        self._front = Allocator(shape.first_free, shape.fixed)
        ((self._resize_block, _),) = self._front.take(1)
        self._journal = self._front.take(shape.journal_blocks) if shape.journal_blocks else []
        self._data = self._front.ahead(found.metadata_blocks + extents.most_tree_blocks([(0, shape.journal_blocks)]))
        self._first_data = self._data.cursor
        self._metadata = _Metadata(target, self._front.ahead(0))
        self._table = InodeTable(target, shape, self._seed)
        self._directories = [0] * shape.groups
        self._copies: list[Copy] = []

    def write(self) -> None:
        """Writes everything; the target is to be finished at the geometry's size."""
        inodes = self._found.inodes
        self._put(0, inodes[0])
        self._put_resize_inode()
        journal_map = self._put_journal() if self._journal else None
        for index in range(1, len(inodes)):
            self._put(index, inodes[index])
        self._table.flush()
        self._metadata.flush()
        self._describe(journal_map)
        self._target.settled(self._first_data << BLOCK_BITS)
        self._copy_contents()

    def _describe(self, journal_map: bytes | None) -> None:
        shape, metadata = self._shape, self._metadata.used()
        assert not metadata or sum(metadata[-1]) <= self._first_data
        uuid = derived_uuid(self._table.digest())
        if self._journal:
            self._target.write(self._journal[0][0] << BLOCK_BITS, journal.superblock(shape.journal_blocks, uuid))
        superblock.write(
            self._target,
            superblock.Description(
                geometry=shape,
                uuid=uuid,
                hash_seed=self._found.hash_seed,
                checksum_seed=self._seed,
                time=self._time,
                used=[*shape.fixed, *shape.tables, *self._front.used(), *metadata, *self._data.used()],
                inodes=self._found.inode_count,
                directories=self._directories,
                journal_map=journal_map,
            ),
        )

    def _put(self, index: int, inode: Inode) -> None:
        ino = number(index)
        links = self._found.links[index]
        size = blocks = flags = 0
        block_map = b""
        if isinstance(inode, File):
            size = inode.content.size
            block_map, blocks = self._map_content(ino, inode.content)
            flags = FLAG_EXTENTS
        elif isinstance(inode, Directory):
            block_map, blocks, size, flags = self._place_directory(ino)
            links = links if links < MAX_LINKS else 1
            self._directories[(ino - 1) // self._shape.inodes_per_group] += 1
        elif isinstance(inode, Symlink):
            size = len(inode.target)
            if size <= FAST_SYMLINK:
                block_map = inode.target
            else:
                block_map, blocks = _one_extent(self._metadata.place(inode.target.ljust(BLOCK, b"\0")), 1), 1
                flags = FLAG_EXTENTS
        elif isinstance(inode, Device):
            block_map = _device(inode.major, inode.minor)
        stored = self._found.xattrs.get(ino) if inode.xattrs else None
        xattr_block, body = 0, b""
        if stored is not None:
            body = stored.body
            if stored.block:
                xattr_block = self._place_xattrs(stored.block)
                blocks += 1
        self._table.put(
            ino,
            inode.FORMAT | inode.mode,
            inode.uid,
            inode.gid,
            inode.mtime,
            size,
            links,
            blocks * SECTORS_PER_BLOCK,
            flags,
            block_map,
            xattr_block,
            body,
        )

    def _map_content(self, ino: int, content: Content) -> tuple[bytes, int]:
        """Gives the content its blocks; i_block and how many blocks it takes."""
        pieces = content.pieces
        size = content.size
        if not pieces or not size:
            return _NO_EXTENTS, 0
        if len(pieces) == 1 and pieces[0].length == size and size <= MAX_EXTENT * BLOCK:
            count = (size + BLOCK - 1) >> BLOCK_BITS
            runs = self._data.take(count)
            if len(runs) == 1:
                piece = pieces[0]
                start = runs[0][0]
                self._copies.append((start << BLOCK_BITS, piece.source, piece.start, size))
                return _one_extent(start, count), count
            placed = list(extents_of(0, runs, MAX_EXTENT))
        else:
            placed = []
            for logical, count in data_runs(content, BLOCK_BITS):
                placed.extend(extents_of(logical, self._data.take(count), MAX_EXTENT))
        self._copies.extend(copies(content, placed, BLOCK_BITS))
        return self._extent_root(ino, placed)

    def _extent_root(self, ino: int, placed: list[Extent]) -> tuple[bytes, int]:
        tree: list[int] = []

        def place(block: bytes) -> int:
            tree.append(self._metadata.place(block))
            return tree[-1]

        root = extents.root(placed, inode_seed(self._seed, ino), place)
        return root, sum(count for _, _, count in placed) + len(tree)

    def _place_directory(self, ino: int) -> tuple[bytes, int, int, int]:
        """Writes its blocks; i_block, how many blocks there are, i_size and i_flags."""
        seed = inode_seed(self._seed, ino)
        listing = self._found.listings.get(ino)
        if listing is not None:
            return _one_extent(self._metadata.place(seal_list(listing, seed)), 1), 1, BLOCK, FLAG_EXTENTS
        index = self._found.indexes[ino]
        runs: list[Run] = []
        for block in index.seal(seed):
            at = self._metadata.place(block)
            if runs and sum(runs[-1]) == at:
                runs[-1] = runs[-1][0], runs[-1][1] + 1
            else:
                runs.append((at, 1))
        block_map, blocks = self._extent_root(ino, list(extents_of(0, runs, MAX_EXTENT)))
        return block_map, blocks, index.blocks * BLOCK, FLAG_EXTENTS | FLAG_INDEX

    def _place_xattrs(self, block: bytes) -> int:
        # The checksum has the block's number in it, so the block is sealed when its place is known.
        at = self._metadata.upcoming()
        placed = self._metadata.place(xattrs.seal_block(block, self._seed, at))
        assert placed == at
        return at

    def _put_resize_inode(self) -> None:
        count, blocks = superblock.resize_map(self._shape, self._resize_block)
        for at, data in blocks:
            self._target.write(at << BLOCK_BITS, data)
        block_map = struct.pack("<15I", *[0] * 13, self._resize_block, 0)
        self._put_reserved(RESIZE_INO, _INDIRECT_REACH * BLOCK, count, 0, block_map)

    def _put_journal(self) -> bytes:
        """Returns what the superblock keeps of the journal's inode."""
        size = self._shape.journal_blocks * BLOCK
        block_map, blocks = self._extent_root(JOURNAL_INO, list(extents_of(0, self._journal, MAX_EXTENT)))
        self._put_reserved(JOURNAL_INO, size, blocks, FLAG_EXTENTS, block_map)
        return block_map.ljust(INODE_MAP, b"\0") + struct.pack("<II", size >> 32, size & 0xFFFFFFFF)

    def _put_reserved(self, ino: int, size: int, blocks: int, flags: int, block_map: bytes) -> None:
        self._table.put(
            ino, 0o100600, 0, 0, self._time * 1_000_000_000, size, 1, blocks * SECTORS_PER_BLOCK, flags, block_map
        )

    def _copy_contents(self) -> None:
        with self._progress.stage("writing ext4", sum(run[3] for run in self._copies)) as stage:
            self._target.copy_settling(self._copies, stage.advance)


def _one_extent(start: int, count: int) -> bytes:
    return _ONE_EXTENT.pack(EXTENT_MAGIC, 1, EXTENTS_IN_INODE, 0, 0, 0, count, start >> 32, start & 0xFFFFFFFF)


def _device(major: int, minor: int) -> bytes:
    """The first word holds numbers of 8 bits each, the second one those of 12 and 20 bits (fs/ext4/inode.c)."""
    if major < 256 and minor < 256:
        return struct.pack("<I", major << 8 | minor)
    return struct.pack("<II", 0, (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12)
