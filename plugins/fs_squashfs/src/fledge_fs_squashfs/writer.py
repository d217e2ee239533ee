"""A tree into a squashfs image: data, then the tables, then the superblock."""

from __future__ import annotations

from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fledge.output import ArtifactFile
from fledge.progress import Progress
from fledge.tree.inode import Directory, File

from fledge_fs_squashfs import format as fs
from fledge_fs_squashfs.appender import Appender
from fledge_fs_squashfs.compress import Codec, compressor_id
from fledge_fs_squashfs.data import DataSection, Kept, StoredFile
from fledge_fs_squashfs.directories import DirectoryWriter
from fledge_fs_squashfs.ids import IdTable
from fledge_fs_squashfs.inodes import LeafWriter
from fledge_fs_squashfs.metadata import MetadataTable, flat_table, pointers, raw_metadata_block
from fledge_fs_squashfs.superblock import Superblock
from fledge_fs_squashfs.walk import Inventory
from fledge_fs_squashfs.xattrs import XattrTable


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an image is written with. `time`: seconds since 1970, the superblock's. `jobs`: never changes the bytes."""

    codec: Codec
    block_size: int
    time: int
    jobs: int


def write_image(root: Directory, target: ArtifactFile, parameters: Parameters, kept: Kept, progress: Progress) -> int:
    """Writes the image and returns its size, padding included. Raises BuildError for what squashfs can't hold."""
    pool = ThreadPoolExecutor(parameters.jobs, "fledge-squashfs")
    try:
        return _Writer(root, target, parameters, kept, progress, pool).write()
    finally:
        pool.shutdown(cancel_futures=True)


class _Writer:
    def __init__(
        self,
        root: Directory,
        target: ArtifactFile,
        parameters: Parameters,
        kept: Kept,
        progress: Progress,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._target = target
        self._parameters = parameters
        self._codec = parameters.codec
        self._kept = kept
        self._progress = progress
        self._pool = pool
        self._inventory = Inventory(root)
        self._ids = IdTable()
        self._xattrs = XattrTable(root)
        self._flags = fs.FLAG_EXPORTABLE | fs.FLAG_DUPLICATES
        self._out = Appender(target, fs.SUPERBLOCK.size)

    def write(self) -> int:
        out, inventory = self._out, self._inventory
        if self._codec.options:
            self._flags |= fs.FLAG_COMPRESSOR_OPTIONS
            out.append(raw_metadata_block(self._codec.options))
        stored, fragments = self._write_data()

        inodes = MetadataTable(self._pool, self._codec)
        listings = MetadataTable(self._pool, self._codec)
        positions, kinds = LeafWriter(inventory, self._ids, self._xattrs).write(inodes, stored)
        inodes.settle()
        references = inodes.references(positions)
        directories = DirectoryWriter(inventory, self._ids, self._xattrs, references, kinds)
        references += directories.write(inodes, listings)

        inode_start = self._append_blocks(inodes.finish())
        listing_start = self._append_blocks(listings.finish())
        fragment_start = self._append_flat(b"".join(fragments))
        export_start = self._append_flat(fs.little_endian(array("Q", references)).tobytes())
        id_start = self._append_flat(self._ids.encode())
        xattr_start = self._append_xattrs()
        used = out.position
        size = -(-used // fs.PADDING) * fs.PADDING
        out.append(bytes(size - used))
        out.flush()
        superblock = Superblock(
            inodes=inventory.count,
            time=self._parameters.time,
            block_size=self._parameters.block_size,
            fragments=len(fragments),
            compressor=compressor_id(self._codec),
            flags=self._flags,
            ids=len(self._ids),
            root=inventory.root.reference,
            used=used,
            id_table=id_start,
            xattr_table=xattr_start,
            inode_table=inode_start,
            directory_table=listing_start,
            fragment_table=fragment_start,
            export_table=export_start,
        )
        self._target.write(0, superblock.encode())
        return size

    def _write_data(self) -> tuple[list[StoredFile], list[bytes]]:
        files = [leaf.content for leaf in self._inventory.leaves if isinstance(leaf, File)]
        data = DataSection(self._pool, self._parameters.jobs, self._codec, self._kept, self._parameters.block_size)
        with self._progress.stage("writing squashfs", sum(content.size for content in files)) as stage:
            stored = data.write(files, self._out, stage)
        return stored, data.fragment_table

    def _append_blocks(self, blocks: list[bytes]) -> int:
        start = self._out.position
        for block in blocks:
            self._out.append(block)
        return start

    def _append_flat(self, data: bytes) -> int:
        """Appends a table that is found by index, and behind it where its blocks are, which is its start."""
        blocks, starts = flat_table(self._pool, self._codec, data)
        first = self._append_blocks(blocks)
        return self._out.append(pointers(starts, first))

    def _append_xattrs(self) -> int:
        if not len(self._xattrs):
            self._flags |= fs.FLAG_NO_XATTRS
            return fs.INVALID_TABLE
        entries, ids = self._xattrs.encode(self._pool, self._codec)
        first = self._append_blocks(entries)
        blocks, starts = flat_table(self._pool, self._codec, ids)
        head = fs.XATTR_TABLE.pack(first, len(self._xattrs), 0)
        first = self._append_blocks(blocks)
        return self._out.append(head + pointers(starts, first))
