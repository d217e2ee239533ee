"""The metadata: shared xattrs, the blocks of directories and long symlinks, and inodes with what follows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from fledge.output import ArtifactFile
from fledge.tree.inode import Device, Directory, File, Inode, Symlink

from fledge_fs_erofs.contents import EMPTY, Stored, blocks_of
from fledge_fs_erofs.format import (
    BLOCK,
    BLOCK_BITS,
    EXTENDED,
    FILE_TYPES,
    FLAT_INLINE,
    FLAT_PLAIN,
    INODE,
    MAX_MTIME,
    MIN_MTIME,
    NO_BLOCK,
    SLOT,
)
from fledge_fs_erofs.inventory import Inventory
from fledge_fs_erofs.slots import Slots
from fledge_fs_erofs.stream import Stream
from fledge_fs_erofs.xattrs import XattrTable, icount

_SECOND: Final = 1_000_000_000


class Metadata:
    """Where everything but the contents stands, from one block of the image on."""

    def __init__(self, inventory: Inventory, xattrs: XattrTable, files: Iterable[Stored], first: int) -> None:
        """`files`: of each File of the inventory, in its order. `first`: the block where the metadata begin."""
        self._inventory = inventory
        self._xattrs = xattrs
        self._types = [FILE_TYPES[inode.FORMAT] for inode in inventory.inodes]
        self._slots = Slots()
        self._stored: list[Stored] = []
        self._nids: list[int] = []
        self.shared_xattrs = first
        """The block where these begin."""
        self._first_listed = first + blocks_of(len(xattrs.shared))
        self._end_listed = self._first_listed
        self._place(iter(files))

    @property
    def inodes(self) -> int:
        """The block where the inodes begin."""
        return self._end_listed

    @property
    def root(self) -> int:
        """The nid of the root."""
        return self._nids[0]

    @property
    def end(self) -> int:
        """The block behind the last one."""
        return self.inodes + self._slots.blocks

    def write(self, target: ArtifactFile) -> bytes:
        """Writes it all, and returns a sha256 of it."""
        sha256 = hashlib.sha256()
        out = Stream(target, self.shared_xattrs << BLOCK_BITS, sha256.update)
        out.append(self._xattrs.shared)
        out.fill(self._first_listed << BLOCK_BITS)
        self._write_listed(out)
        self._write_inodes(out)
        out.fill(self.end << BLOCK_BITS)
        out.flush()
        return sha256.digest()

    def _place(self, files: Iterator[Stored]) -> None:
        stored, nids = self._stored, self._nids
        xattrs = self._xattrs.encoded
        take = self._slots.take
        for number, inode in enumerate(self._inventory.inodes):
            size = INODE.size + len(xattrs.get(number, b""))
            if isinstance(inode, File):
                data = next(files)
            elif isinstance(inode, Directory):
                data = self._place_listed(self._inventory.listings[number].size, BLOCK - size)
            elif isinstance(inode, Symlink):
                data = self._place_listed(len(inode.target), BLOCK - size)
            elif isinstance(inode, Device):
                data = Stored(FLAT_PLAIN, _device(inode.major, inode.minor))
            else:
                data = EMPTY
            stored.append(data)
            nids.append(take(size + data.following))
        self._slots.close()

    def _place_listed(self, size: int, room: int) -> Stored:
        """Whole blocks of the metadata, and the rest behind the inode if it fits there."""
        rest = size % BLOCK
        inline = 0 < rest <= room
        blocks = size // BLOCK if inline else blocks_of(size)
        first = self._end_listed if blocks else NO_BLOCK
        self._end_listed += blocks
        return Stored(FLAT_INLINE, first, rest) if inline else Stored(FLAT_PLAIN, first)

    def _write_listed(self, out: Stream) -> None:
        """The blocks in the order in which `_place_listed` took them."""
        for number, (inode, stored) in enumerate(zip(self._inventory.inodes, self._stored, strict=True)):
            if stored.unit == NO_BLOCK:
                continue
            if isinstance(inode, Directory):
                listing = self._inventory.listings[number]
                for index in range(listing.blocks - (stored.layout == FLAT_INLINE)):
                    out.append(listing.block(index, self._nids, self._types))
                    out.fill_block()
            elif isinstance(inode, Symlink):
                out.append(inode.target)
                out.fill_block()

    def _write_inodes(self, out: Stream) -> None:
        inodes, links, stored = self._inventory.inodes, self._inventory.links, self._stored
        xattrs, nids = self._xattrs.encoded, self._nids
        begin = self.inodes << BLOCK_BITS
        for number in sorted(range(len(nids)), key=nids.__getitem__):
            inode = inodes[number]
            data = stored[number]
            attributes = xattrs.get(number, b"")
            size, listed = self._size_and_listed(number, inode, data)
            seconds, nanoseconds = divmod(min(max(inode.mtime, MIN_MTIME), MAX_MTIME), _SECOND)
            out.fill(begin + nids[number] * SLOT)
            out.append(
                INODE.pack(
                    EXTENDED | data.layout << 1,
                    icount(attributes),
                    inode.FORMAT | inode.mode,
                    0,
                    size,
                    data.unit,
                    number + 1,
                    inode.uid,
                    inode.gid,
                    seconds,
                    nanoseconds,
                    links[number],
                )
                + attributes
                + data.own()
                + listed
            )
            for piece in data.tail:
                out.append_piece(piece)

    def _size_and_listed(self, number: int, inode: Inode, stored: Stored) -> tuple[int, bytes]:
        """i_size, and what of the entries or the target follows the inode."""
        if isinstance(inode, File):
            return inode.content.size, b""
        inline = stored.layout == FLAT_INLINE
        if isinstance(inode, Directory):
            listing = self._inventory.listings[number]
            last = listing.block(listing.blocks - 1, self._nids, self._types) if inline else b""
            return listing.size, last
        if isinstance(inode, Symlink):
            return len(inode.target), inode.target if inline else b""
        return 0, b""


def _device(major: int, minor: int) -> int:
    """As the kernel's new_encode_dev."""
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
