"""Makes a tree of an ext4 image, without mounting it: ours, and those that mke2fs makes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK

from fledge.errors import BuildError
from fledge.tree.content import Content, Piece
from fledge.tree.inode import (
    NO_XATTRS,
    BlockDevice,
    CharDevice,
    Directory,
    Fifo,
    File,
    Inode,
    Socket,
    Symlink,
)
from fledge.tree.tree import Tree

from fledge_fs_ext4 import xattrs
from fledge_fs_ext4.format import FAST_SYMLINK, FLAG_EXTENTS, MAX_SYMLINK, ROOT_INO
from fledge_fs_ext4.volume import Corrupt, RawInode, Volume


def read_tree(path: Path) -> Tree:
    """The tree of the image at `path`; contents are read from it when they are asked for.

    Raises BuildError when it can't be read or is corrupt.
    """
    try:
        return _Reader(Volume(path)).tree()
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
    except Corrupt as corrupt:
        raise BuildError(f"{path} is not an ext4 image that can be read: {corrupt}") from None


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
        mode, uid, gid, mtime = raw.mode & 0o7777, raw.uid, raw.gid, raw.mtime
        attributes = self._xattrs(raw)
        kind = S_IFMT(raw.mode)
        inode: Inode
        if kind == S_IFREG:
            inode = File(self._content(raw), mode, uid, gid, mtime, attributes)
        elif kind == S_IFDIR:
            inode = Directory(mode, uid, gid, mtime, attributes)
        elif kind == S_IFLNK:
            inode = Symlink(self._target(raw), mode, uid, gid, mtime, attributes)
        elif kind in (S_IFCHR, S_IFBLK):
            device = CharDevice if kind == S_IFCHR else BlockDevice
            inode = device(*_device(raw.block_map), mode, uid, gid, mtime, attributes)
        elif kind in (S_IFIFO, S_IFSOCK):
            inode = (Fifo if kind == S_IFIFO else Socket)(mode, uid, gid, mtime, attributes)
        else:
            raise Corrupt(f"inode {ino} is of the unknown type {kind:#o}")
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
            last = pieces[-1] if pieces else None
            if last is not None and last.offset + last.length == offset and last.start + last.length == start * block:
                last.length += length
            else:
                pieces.append(Piece(offset, self._volume.source, start * block, length))
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
