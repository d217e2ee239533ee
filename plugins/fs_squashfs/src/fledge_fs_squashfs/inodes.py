"""Inodes other than directories."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.errors import BuildError
from fledge.tree.inode import BlockDevice, CharDevice, Device, Fifo, File, Inode, Socket, Symlink

from fledge_fs_squashfs import format as fs
from fledge_fs_squashfs.data import StoredFile
from fledge_fs_squashfs.ids import IdTable
from fledge_fs_squashfs.metadata import MetadataTable
from fledge_fs_squashfs.walk import Inventory, path_of
from fledge_fs_squashfs.xattrs import XattrTable

KINDS = {
    File: fs.TYPE_FILE,
    Symlink: fs.TYPE_SYMLINK,
    BlockDevice: fs.TYPE_BLOCK_DEVICE,
    CharDevice: fs.TYPE_CHAR_DEVICE,
    Fifo: fs.TYPE_FIFO,
    Socket: fs.TYPE_SOCKET,
}


def seconds(mtime: int) -> int:
    """What the format holds of a time in nanoseconds: whole seconds from 1970 to 2106, the nearest of them."""
    return min(max(mtime // 1_000_000_000, 0), fs.MAX_TIME)


class LeafWriter:
    """Appends the inodes of an inventory's leaves to the inode table."""

    def __init__(self, inventory: Inventory, ids: IdTable, xattrs: XattrTable) -> None:
        self._inventory = inventory
        self._ids = ids
        self._xattrs = xattrs

    def write(self, table: MetadataTable, stored: Sequence[StoredFile]) -> tuple[list[int], bytes]:
        """`stored`: where the files among the leaves stand, in order. Returns the inodes' positions and types."""
        ids, append = self._ids, table.append
        positions: list[int] = []
        kinds = bytearray()
        files = iter(stored)
        invalid = fs.INVALID_32
        pack_file, maximum = fs.FILE.pack, fs.INVALID_32
        for number, (inode, links) in enumerate(zip(self._inventory.leaves, self._inventory.links, strict=True), 1):
            kind = KINDS[type(inode)]
            kinds.append(kind)
            positions.append(table.position)
            mtime = inode.mtime // 1_000_000_000
            if not 0 <= mtime <= fs.MAX_TIME:
                mtime = seconds(inode.mtime)
            uid, gid = ids[inode.uid], ids[inode.gid]
            xattrs = self._xattrs.index(inode) if inode.xattrs else invalid
            if kind == fs.TYPE_FILE:
                assert isinstance(inode, File)
                file, size = next(files), inode.content.size
                if links == 1 and xattrs == invalid and not file.sparse and file.start <= maximum >= size:
                    head = pack_file(
                        kind, inode.mode, uid, gid, mtime, number, file.start, file.fragment, file.offset, size
                    )
                else:
                    head = fs.LFILE.pack(
                        kind + fs.EXTENDED, inode.mode, uid, gid, mtime, number, file.start, size, file.sparse,
                        links, file.fragment, file.offset, xattrs,
                    )  # fmt: skip
                append(head + fs.little_endian(file.sizes).tobytes() if file.sizes else head)
            else:
                append(self._other(inode, kind, (inode.mode, uid, gid, mtime, number, links), xattrs))
        return positions, bytes(kinds)

    def _other(self, inode: Inode, kind: int, common: tuple[int, int, int, int, int, int], xattrs: int) -> bytes:
        extended = xattrs != fs.INVALID_32
        if extended:
            kind += fs.EXTENDED
        if isinstance(inode, Symlink):
            target = inode.target
            if len(target) > fs.MAX_SYMLINK:
                raise BuildError(
                    f"{path_of(self._inventory.root.inode, inode)}: the symlink's target has {len(target)} bytes; "
                    f"at most {fs.MAX_SYMLINK} are allowed"
                )
            body = fs.SYMLINK.pack(kind, *common, len(target)) + target
            return body + fs.U32.pack(xattrs) if extended else body
        if isinstance(inode, Device):
            if inode.major > fs.MAX_MAJOR or inode.minor > fs.MAX_MINOR:
                raise BuildError(
                    f"{path_of(self._inventory.root.inode, inode)}: squashfs can't hold the device number "
                    f"{inode.major}:{inode.minor}; at most {fs.MAX_MAJOR}:{fs.MAX_MINOR} is allowed"
                )
            number = fs.device_number(inode.major, inode.minor)
            return fs.LDEVICE.pack(kind, *common, number, xattrs) if extended else fs.DEVICE.pack(kind, *common, number)
        return fs.LIPC.pack(kind, *common, xattrs) if extended else fs.IPC.pack(kind, *common)
