"""A tree as a newc archive: first what is in it and whether newc can hold it, then the entries in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fledge.errors import BuildError
from fledge.progress import Stage
from fledge.tree.content import Source, Views
from fledge.tree.inode import Device, Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import NAME_MAX, show_path

from fledge_fs_cpio import format as newc
from fledge_fs_cpio.compress import Sink

_SECOND: Final = 10**9
_CHUNK: Final = 1 << 20
_HELD: Final = 8 << 20
"""Bytes of mapped layers after which they are given back, all at once: a call for each small file would cost more."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What goes into the archive."""

    entries: list[tuple[bytes, Inode]]
    """Parents before what is in them, the names of a folder sorted as bytes; paths are relative, the root is empty."""
    names: dict[int, int]
    """How many names an inode has, by id(), where it has several."""
    size: int
    """Bytes of the archive."""
    content_size: int
    """Bytes of the files in it."""
    with_xattrs: list[tuple[bytes, Inode]]
    """What has extended attributes, which newc has no place for."""


def take_inventory(tree: Tree) -> Inventory:
    """Raises BuildError, with the path, for a file of 4 GiB or more, a path of over 4095 bytes or a name of over 255."""
    entries = list(tree.walk())
    seen: set[int] = set()
    names: dict[int, int] = {}
    with_xattrs = []
    size = newc.entry_size(newc.TRAILER)
    content_size = 0
    for path, inode in entries:
        if len(path) > newc.MAX_PATH:
            raise BuildError(
                f"{show_path(path[:80])}... has {len(path)} bytes; the kernel takes up to {newc.MAX_PATH} in an initramfs"
            )
        if len(path) - path.rfind(b"/") - 1 > NAME_MAX:
            raise BuildError(
                f"{show_path(path)}: the name has {len(path) - path.rfind(b'/') - 1} bytes; the kernel takes up to {NAME_MAX}"
            )
        known = id(inode) in seen
        seen.add(id(inode))
        if known:
            names[id(inode)] = names.get(id(inode), 1) + 1
        elif inode.xattrs:
            with_xattrs.append((path, inode))
        size += newc.entry_size(_name(path))
        if isinstance(inode, Symlink):
            size += newc.aligned(len(inode.target))
        elif isinstance(inode, File) and not known:
            if inode.content.size > newc.MAX_FIELD:
                raise BuildError(
                    f"{show_path(path)} has {inode.content.size} bytes; cpio (newc) holds up to {newc.MAX_FIELD} in a file"
                )
            size += newc.aligned(inode.content.size)
            content_size += inode.content.size
    return Inventory(entries, names, size, content_size, with_xattrs)


def write_archive(inventory: Inventory, sink: Sink, stage: Stage) -> None:
    """Writes every entry and the trailer.

    Inode numbers count from 1. Of an inode with several names, the last one carries the content, as GNU cpio has it:
    the kernel links the names as they come and writes once.
    """
    write = sink.write
    contents = _Contents(sink, stage)
    numbers: dict[int, int] = {}
    left = dict(inventory.names)
    for path, inode in inventory.entries:
        key = id(inode)
        ino = numbers.setdefault(key, len(numbers) + 1)
        nlink = inventory.names.get(key, 1)
        size = 0
        rdev = (0, 0)
        if isinstance(inode, File):
            if nlink > 1:
                left[key] -= 1
            if nlink == 1 or left[key] == 0:
                size = inode.content.size
        elif isinstance(inode, Symlink):
            size = len(inode.target)
        elif isinstance(inode, Device):
            rdev = (inode.major, inode.minor)
        elif isinstance(inode, Directory):
            nlink = 2
        mode, mtime = inode.FORMAT | inode.mode, seconds(inode.mtime)
        write(newc.entry(_name(path), ino, mode, inode.uid, inode.gid, nlink, mtime, size, rdev))
        if isinstance(inode, Symlink):
            write(inode.target)
            write(newc.padding(size))
        elif size:
            assert isinstance(inode, File)
            contents.write(inode)
            write(newc.padding(size))
    contents.release()
    write(newc.entry(newc.TRAILER, 0, 0, 0, 0, 1, 0, 0))


def seconds(mtime: int) -> int:
    """An mtime (ns) as the archive holds it."""
    return min(max(mtime // _SECOND, 0), newc.MAX_FIELD)


def _name(path: bytes) -> bytes:
    if path == newc.TRAILER:
        # Every reader goes by the name alone, and would stop here.
        return b"./" + path
    return path or newc.ROOT


class _Contents:
    """Copies the contents of files, and gives back the layers' pages now and then."""

    def __init__(self, sink: Sink, stage: Stage) -> None:
        self._sink = sink
        self._stage = stage
        self._views = Views()
        self._held = 0

    def write(self, file: File) -> None:
        """All of the file's bytes, holes as zeros: an archive has none."""
        write = self._sink.write
        at = 0
        for piece in file.content.pieces:
            for zeros in _zeros(piece.offset - at):
                write(zeros)
            for done in range(0, piece.length, _CHUNK):
                count = min(_CHUNK, piece.length - done)
                self._copy(piece.source, piece.start + done, count)
            at = piece.offset + piece.length
        for zeros in _zeros(file.content.size - at):
            write(zeros)

    def release(self) -> None:
        """Gives back what is held."""
        self._views.release()
        self._held = 0

    def _copy(self, source: Source, start: int, length: int) -> None:
        self._sink.write(self._views.view(source, start, length))
        self._stage.advance(length)
        self._held += length
        if self._held >= _HELD:
            self.release()


def _zeros(count: int) -> Iterator[bytes]:
    block = bytes(min(count, _CHUNK))
    while count > 0:
        yield block if count >= _CHUNK else block[:count]
        count -= _CHUNK
