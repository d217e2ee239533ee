"""Makes a tree of an XFS image, without mounting it: ours, and those that mkfs.xfs and the kernel make."""

from __future__ import annotations

import struct
from pathlib import Path

from fledge.reading import Corrupt, add_piece, reading, stored_inode
from fledge.tree.content import Content, Piece
from fledge.tree.inode import Directory, Inode
from fledge.tree.tree import Tree

from fledge_fs_xfs.checksum import is_sealed
from fledge_fs_xfs.format import (
    DEVICE_MINOR_BITS,
    FORMAT_LOCAL,
    MAX_FILE_SIZE,
    MAX_MAJOR,
    MAX_MINOR,
    MAX_SYMLINK,
    REMOTE_CRC,
    REMOTE_HEADER,
    SYMLINK_MAGIC,
)
from fledge_fs_xfs.read_attributes import read_attributes
from fledge_fs_xfs.read_directory import read_directory
from fledge_fs_xfs.volume import RawInode, Volume


def read_tree(path: Path) -> Tree:
    """The tree of the image at `path`; contents are read from it when they are asked for.

    Raises BuildError when it can't be read or is corrupt.
    """
    with reading(path, "an xfs image"):
        return _Reader(Volume(path)).tree()


class _Reader:
    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._inodes: dict[int, Inode] = {}

    def tree(self) -> Tree:
        number = self._volume.shape.root
        raw, root = self._inode(number)
        if not isinstance(root, Directory):
            raise Corrupt("its root is not a directory")
        stack = [(raw, root, number)]
        while stack:
            raw, folder, above = stack.pop()
            listing = read_directory(self._volume, raw)
            if listing.parent != above:
                raise Corrupt(f"directory inode {raw.ino} says that inode {listing.parent} is above it, not {above}")
            for name, child in listing.entries:
                if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or name in folder.entries:
                    raise Corrupt(f"directory inode {raw.ino} has the name {name!r}, which can't be")
                known = self._inodes.get(child)
                if known is None:
                    raw_child, known = self._inode(child)
                    if isinstance(known, Directory):
                        stack.append((raw_child, known, raw.ino))
                elif isinstance(known, Directory):
                    raise Corrupt(f"directory inode {child} has two names")
                folder.entries[name] = known
        self._volume.source.release(0, self._volume.source.size)
        return Tree(root, epoch=root.mtime)

    def _inode(self, ino: int) -> tuple[RawInode, Inode]:
        raw = self._volume.inode(ino)
        inode = stored_inode(
            ino,
            raw.mode,
            raw.uid,
            raw.gid,
            raw.mtime,
            read_attributes(self._volume, raw),
            content=lambda: self._content(raw),
            target=lambda: self._target(raw),
            device=lambda: _device(raw),
        )
        self._inodes[ino] = inode
        return raw, inode

    def _content(self, raw: RawInode) -> Content:
        if raw.size > MAX_FILE_SIZE:
            raise Corrupt(f"inode {raw.ino} has {raw.size} bytes")
        pieces: list[Piece] = []
        bits = self._volume.shape.block_bits
        for logical, block, count, written in self._volume.extents(raw.ino, raw.data):
            offset, start = logical << bits, block << bits
            length = min(count << bits, raw.size - offset)
            # Blocks behind the end were set aside by the kernel for a file that grew.
            if length <= 0 or not written:
                continue
            add_piece(pieces, offset, self._volume.source, start, length)
        return Content(raw.size, pieces)

    def _target(self, raw: RawInode) -> bytes:
        if not 0 < raw.size <= MAX_SYMLINK + 1:
            raise Corrupt(f"symlink inode {raw.ino} points to {raw.size} bytes")
        if raw.data.format == FORMAT_LOCAL:
            target = raw.data.area[: raw.size]
        else:
            extents = self._volume.extents(raw.ino, raw.data)
            if sum(extent.blocks for extent in extents) > _MOST_TARGET_BLOCKS:
                raise Corrupt(f"symlink inode {raw.ino} has too many blocks")
            target = b"".join(self._target_part(raw, start, count) for _, start, count, _ in extents)
        if len(target) != raw.size or b"\0" in target:
            raise Corrupt(f"symlink inode {raw.ino} has a broken target")
        return target

    def _target_part(self, raw: RawInode, start: int, count: int) -> bytes:
        """What an extent holds: small blocks that stand together have one header."""
        volume = self._volume
        data = volume.at_block(start, count)
        magic, _, size, _, uuid, owner, sector, _ = REMOTE_HEADER.unpack_from(data)
        if (magic, uuid, owner, sector) != (SYMLINK_MAGIC, volume.shape.uuid, raw.ino, volume.sector(start)):
            raise Corrupt(f"symlink inode {raw.ino} has a block that is none of its own")
        if not is_sealed(data, REMOTE_CRC):
            raise Corrupt(f"symlink inode {raw.ino} has a wrong checksum")
        return data[REMOTE_HEADER.size :][:size]


_MOST_TARGET_BLOCKS = 3
"""1024 bytes in blocks of 512, of which the header takes 56 (XFS_SYMLINK_MAPS)."""


def _device(raw: RawInode) -> tuple[int, int]:
    (number,) = struct.unpack_from(">I", raw.data.area)
    return number >> DEVICE_MINOR_BITS & MAX_MAJOR, number & MAX_MINOR
