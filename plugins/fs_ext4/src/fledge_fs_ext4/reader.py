"""Makes a tree of an ext4 image, without mounting it: ours, and those that mke2fs makes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from fledge.reading import Corrupt, add_piece, reading, stored_inode
from fledge.tree.content import Content, Piece
from fledge.tree.inode import NO_XATTRS, Directory, Inode
from fledge.tree.tree import Tree

from fledge_fs_ext4 import xattrs
from fledge_fs_ext4.format import FAST_SYMLINK, FLAG_EXTENTS, MAX_SYMLINK, ROOT_INO
from fledge_fs_ext4.volume import RawInode, Volume


def read_tree(path: Path) -> Tree:
    """The tree of the image at `path`; contents are read from it when they are asked for.

    Raises BuildError when it can't be read or is corrupt.
    """
    with reading(path, "an ext4 image"):
        return _Reader(Volume(path)).tree()


class _Reader:
    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._inodes: dict[int, Inode] = {}

    def tree(self) -> Tree:
        root = self._inode(ROOT_INO)
        if not isinstance(root, Directory):
            raise Corrupt("its root is not a directory")
        stack = [(ROOT_INO, root)]
        while stack:
            ino, folder = stack.pop()
            for name, child in self._volume.entries(self._volume.inode(ino)):
                if name in (b".", b".."):
                    continue
                if not name or b"/" in name or b"\0" in name or name in folder.entries:
                    raise Corrupt(f"directory inode {ino} has the name {name!r}, which can't be")
                known = self._inodes.get(child)
                if known is None:
                    known = self._inode(child)
                    if isinstance(known, Directory):
                        stack.append((child, known))
                elif isinstance(known, Directory):
                    raise Corrupt(f"directory inode {child} has two names")
                folder.entries[name] = known
        self._volume.source.release(0, self._volume.source.size)
        return Tree(root, epoch=root.mtime)

    def _inode(self, ino: int) -> Inode:
        raw = self._volume.inode(ino)
        inode = stored_inode(
            ino,
            raw.mode,
            raw.uid,
            raw.gid,
            raw.mtime,
            self._xattrs(raw),
            content=lambda: self._content(raw),
            target=lambda: self._target(raw),
            device=lambda: _device(raw.block_map),
        )
        self._inodes[ino] = inode
        return inode

    def _content(self, raw: RawInode) -> Content:
        pieces: list[Piece] = []
        block = self._volume.block
        for logical, start, count in self._volume.extents(raw):
            offset = logical * block
            length = min(count * block, raw.size - offset)
            if length <= 0:
                continue
            add_piece(pieces, offset, self._volume.source, start * block, length)
        return Content(raw.size, pieces)

    def _target(self, raw: RawInode) -> bytes:
        inside = not raw.flags & FLAG_EXTENTS
        if not 0 < raw.size <= (FAST_SYMLINK if inside else MAX_SYMLINK):
            raise Corrupt(f"symlink inode {raw.ino} points to {raw.size} bytes")
        if inside:
            return raw.block_map[: raw.size]
        return b"".join(self._volume.blocks(raw))[: raw.size]

    def _xattrs(self, raw: RawInode) -> Mapping[bytes, bytes]:
        try:
            found = xattrs.decode_body(raw.xattr_body)
            if raw.xattr_block:
                found |= xattrs.decode_block(self._volume.at_block(raw.xattr_block))
        except (ValueError, struct.error) as error:
            raise Corrupt(f"inode {raw.ino} has {error}") from None
        return found or NO_XATTRS


def _device(block_map: bytes) -> tuple[int, int]:
    old, new = struct.unpack_from("<II", block_map)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, (new & 0xFF) | new >> 12 & 0xFFF00
