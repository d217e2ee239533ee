"""Makes a tree of an image, without mounting it: ours, and those that mkfs.erofs makes."""

from __future__ import annotations

import struct
from pathlib import Path

from fledge.reading import Corrupt, add_piece, reading, stored_inode
from fledge.tree.content import Content, Piece
from fledge.tree.inode import Directory, Inode
from fledge.tree.tree import Tree

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.compressed import CompressedSource
from fledge_fs_erofs.image import Image, RawInode

_CHUNK_ADDRESS = struct.Struct("<I")
_CHUNK_INDEX = struct.Struct("<4xI")
"""An address with a device's number, of which only the image itself can be."""


def read_tree(path: Path) -> Tree:
    """The tree of the image at `path`; contents are read from it when they are asked for.

    Raises BuildError when it can't be read or is corrupt.
    """
    with reading(path, "an erofs image"):
        return _Reader(Image(path)).tree()


class _Reader:
    def __init__(self, image: Image) -> None:
        self._image = image
        self._inodes: dict[int, Inode] = {}

    def tree(self) -> Tree:
        root = self._image.inode(self._image.superblock.root)
        top = self._inode(root)
        if not isinstance(top, Directory):
            raise Corrupt("its root is not a directory")
        stack = [(root, top)]
        while stack:
            raw, folder = stack.pop()
            for name, nid, kind in self._image.entries(raw):
                inode = self._inodes.get(nid)
                if inode is None:
                    child = self._image.inode(nid)
                    inode = self._inode(child)
                    if isinstance(inode, Directory):
                        stack.append((child, inode))
                elif isinstance(inode, Directory):
                    raise Corrupt(f"directory inode {nid} has two names")
                if fs.FILE_TYPES[inode.FORMAT] != kind:
                    raise Corrupt(f"directory inode {raw.nid} has a wrong file type for {name!r}")
                folder.entries[name] = inode
        self._image.source.release(0, self._image.source.size)
        return Tree(top, epoch=top.mtime)

    def _inode(self, raw: RawInode) -> Inode:
        inode = stored_inode(
            raw.nid,
            raw.mode,
            raw.uid,
            raw.gid,
            raw.mtime,
            raw.xattrs,
            content=lambda: self._content(raw),
            target=lambda: self._image.target(raw),
            device=lambda: _device(raw.unit),
        )
        self._inodes[raw.nid] = inode
        return inode

    def _content(self, raw: RawInode) -> Content:
        if raw.layout in (fs.FLAT_PLAIN, fs.FLAT_INLINE):
            return self._flat(raw)
        if raw.layout == fs.CHUNK_BASED:
            return self._chunked(raw)
        if raw.layout in (fs.COMPRESSED_FULL, fs.COMPRESSED_COMPACT):
            return self._compressed(raw)
        raise Corrupt(f"inode {raw.nid} has the unknown layout {raw.layout}")

    def _flat(self, raw: RawInode) -> Content:
        image = self._image
        rest = raw.size % fs.BLOCK if raw.layout == fs.FLAT_INLINE else 0
        whole = raw.size - rest
        pieces = []
        if whole:
            image.check(raw.unit << fs.BLOCK_BITS, whole)
            pieces.append(Piece(0, image.source, raw.unit << fs.BLOCK_BITS, whole))
        if raw.layout == fs.FLAT_INLINE:
            pieces.append(Piece(whole, image.source, image.tail(raw), rest))
        return Content(raw.size, pieces)

    def _chunked(self, raw: RawInode) -> Content:
        image = self._image
        if raw.unit & ~(fs.CHUNK_BITS_MASK | fs.CHUNK_INDEXES):
            raise Corrupt(f"inode {raw.nid} has chunks of the unknown form {raw.unit:#x}")
        bits = fs.BLOCK_BITS + (raw.unit & fs.CHUNK_BITS_MASK)
        record = _CHUNK_INDEX if raw.unit & fs.CHUNK_INDEXES else _CHUNK_ADDRESS
        start = -(-raw.behind // record.size) * record.size
        pieces: list[Piece] = []
        index = image.read_metadata(start, -(-raw.size >> bits) * record.size)
        for number, (address,) in enumerate(record.iter_unpack(index)):
            if address == fs.NO_BLOCK:
                continue
            offset, place = number << bits, address << fs.BLOCK_BITS
            length = min(1 << bits, raw.size - offset)
            image.check(place, length)
            add_piece(pieces, offset, image.source, place, length)
        return Content(raw.size, pieces)

    def _compressed(self, raw: RawInode) -> Content:
        if not self._image.superblock.incompatible & fs.INCOMPAT_LZ4_0PADDING:
            raise Corrupt("its compressed data do not tell where they begin, which is not supported")
        self._image.check(raw.behind, raw.blocks * 2)
        return Content.whole(CompressedSource(self._image, raw))


def _device(encoded: int) -> tuple[int, int]:
    """As the kernel's new_decode_dev."""
    return encoded >> 8 & 0xFFF, (encoded & 0xFF) | encoded >> 12 & 0xFFF00
