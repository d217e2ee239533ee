"""Reads the structures of an image: superblock, inodes, xattrs, directories.

Nothing that an image says is believed before it is checked. Raises Corrupt where it is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fledge.reading import Corrupt
from fledge.tree.content import FileSource
from fledge.tree.inode import NO_XATTRS

from fledge_fs_erofs import format as fs
from fledge_fs_erofs import xattrs
from fledge_fs_erofs.directories import decode_block
from fledge_fs_erofs.superblock import Superblock

_SECOND = 1_000_000_000


class RawInode(NamedTuple):
    """An inode as it is stored. `mode` with the type; `mtime` in ns; `behind`: the offset of what follows the xattrs."""

    nid: int
    layout: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    unit: int
    xattrs: Mapping[bytes, bytes]
    behind: int

    @property
    def blocks(self) -> int:
        """How many blocks its data have."""
        return -(-self.size >> fs.BLOCK_BITS)


class Image:
    """An open image."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or Corrupt for what is no erofs or uses features that are not supported."""
        self.path = path
        self.source = FileSource(path)
        self.superblock = Superblock.decode(bytes(self.source.view(0, min(fs.BLOCK, self.source.size))))
        self._end = self.superblock.blocks << fs.BLOCK_BITS
        if self._end > self.source.size:
            raise Corrupt(f"it has {self.source.size} bytes instead of {self._end}")
        self._unread = self._end
        self._shared: dict[int, tuple[bytes, bytes]] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as they stand in the file."""
        self.check(offset, length)
        return bytes(self.source.view(offset, length))

    def check(self, offset: int, length: int) -> None:
        """Raises Corrupt for what reaches past the end."""
        if offset + length > self._end:
            raise Corrupt(f"something at {offset} reaches past its end")

    def read_metadata(self, offset: int, length: int) -> bytes:
        """As `read`, for what stands in the image once.

        An image in which much refers to the same bytes can't keep the reader busy for ever, or fill its memory.
        """
        self._unread -= length
        if self._unread < 0:
            raise Corrupt("its metadata overlap")
        return self.read(offset, length)

    def inode(self, nid: int) -> RawInode:
        """The inode with its xattrs."""
        start = (self.superblock.metadata << fs.BLOCK_BITS) + nid * fs.SLOT
        head = self.read_metadata(start, fs.COMPACT_INODE.size)
        if head[0] & fs.EXTENDED:
            head += self.read_metadata(start + len(head), fs.INODE.size - len(head))
            format_, icount, mode, _, size, unit, _, uid, gid, seconds, nanoseconds, _ = fs.INODE.unpack(head)
            mtime = seconds * _SECOND + nanoseconds
        else:
            format_, icount, mode, _, size, unit, _, uid, gid = fs.COMPACT_INODE.unpack(head)
            mtime = self.superblock.time
        behind = start + len(head)
        attributes = NO_XATTRS
        if icount:
            length = fs.XATTR_HEADER.size + (icount - 1) * fs.XATTR_UNIT
            attributes = self._xattrs(self.read_metadata(behind, length))
            behind += length
        return RawInode(nid, format_ >> 1, mode, uid, gid, mtime, size, unit, attributes, behind)

    def tail(self, inode: RawInode) -> int:
        """The offset of the last bytes of an inode that is FLAT_INLINE."""
        length = inode.size % fs.BLOCK
        if not length or inode.behind % fs.BLOCK + length > fs.BLOCK:
            raise Corrupt(f"inode {inode.nid} has {length} inline bytes where there is no room for them")
        self.check(inode.behind, length)
        return inode.behind

    def entries(self, inode: RawInode) -> Iterator[tuple[bytes, int, int]]:
        """Name, nid and file type of what is in a directory, without `.` and `..`."""
        last = b""
        for block in self._data(inode):
            for name, nid, kind in decode_block(block):
                if name <= last or b"/" in name or b"\0" in name or len(name) > fs.MAX_NAME:
                    raise Corrupt(f"directory inode {inode.nid} has the name {name!r} behind {last!r}, which can't be")
                last = name
                if name not in (b".", b".."):
                    yield name, nid, kind

    def target(self, inode: RawInode) -> bytes:
        """What a symlink points to."""
        if not 0 < inode.size <= fs.MAX_SYMLINK:
            raise Corrupt(f"symlink inode {inode.nid} points to {inode.size} bytes")
        (target,) = self._data(inode)
        return target

    def _data(self, inode: RawInode) -> Iterator[bytes]:
        """The blocks of a directory or symlink, the last one as short as it is."""
        if inode.layout not in (fs.FLAT_PLAIN, fs.FLAT_INLINE):
            raise Corrupt(f"inode {inode.nid} has the layout {inode.layout}, which its type can't have")
        whole = inode.size if inode.layout == fs.FLAT_PLAIN else inode.size - inode.size % fs.BLOCK
        for at in range(0, whole, fs.BLOCK):
            yield self.read_metadata((inode.unit << fs.BLOCK_BITS) + at, min(fs.BLOCK, whole - at))
        if whole < inode.size:
            yield self.read_metadata(self.tail(inode), inode.size - whole)

    def _xattrs(self, data: bytes) -> Mapping[bytes, bytes]:
        own, numbers = xattrs.decode(data)
        for number in numbers:
            name, value = self._shared_xattr(number)
            own[name] = value
        return own

    def _shared_xattr(self, number: int) -> tuple[bytes, bytes]:
        found = self._shared.get(number)
        if found is None:
            start = (self.superblock.shared_xattrs << fs.BLOCK_BITS) + number * fs.XATTR_UNIT
            size = xattrs.entry_size(self.read(start, fs.XATTR_ENTRY.size))
            found = self._shared[number] = xattrs.decode_entry(self.read_metadata(start, size))
        return found
