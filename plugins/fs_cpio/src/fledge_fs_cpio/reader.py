"""An initramfs into a tree, as the kernel would unpack it (init/initramfs.c).

Archives stand one after the other, each compressed or not, with zeros between them; later entries go over earlier ones.
What the kernel would pass over in silence, such as a file whose folder is missing, is an error here.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Final

from fledge.errors import BuildError
from fledge.tree.content import EMPTY, Content, FileSource
from fledge.tree.inode import (
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
from fledge.values import NAME_MAX, GuestPath, show_path

from fledge_fs_cpio import format as newc
from fledge_fs_cpio.decompress import unpack

MAX_ENTRIES: Final = 4_000_000
"""A small compressed archive can stand for entries that take gigabytes in memory."""

_SECOND: Final = 10**9
_CHUNK: Final = 1 << 12
_MODE: Final = 0o7777
_KINDS: Final[dict[int, type[Inode]]] = {
    kind.FORMAT: kind for kind in (Directory, File, Symlink, CharDevice, BlockDevice, Fifo, Socket)
}


def read_tree(path: Path) -> Tree:
    """The tree of the initramfs at `path`. Raises BuildError when it is corrupt."""
    try:
        with open(path, "rb") as file:
            return _TreeReader(path).read(FileSource(path), file)
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error


class _TreeReader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._tree = Tree(Directory(0o755))
        self._links: dict[tuple[int, int, int, int], Inode] = {}
        self._entries = 0
        self._folder: tuple[bytes, Directory] = (b"", self._tree.root)

    def read(self, source: FileSource, file: IO[bytes]) -> Tree:
        """`source`, `file`: the same bytes."""
        at = 0
        while (at := _after_zeros(source, at)) < source.size:
            if bytes(source.view(at, 1)) == b"0":
                at = self._archive(source, at)
            else:
                unpacked, at = unpack(file, at, self._path)
                end = _after_zeros(unpacked, 0)
                while end < unpacked.size:
                    end = _after_zeros(unpacked, self._archive(unpacked, end))
        if not self._entries:
            raise self._corrupt("it is empty")
        return self._tree

    def _archive(self, source: FileSource, start: int) -> int:
        """Reads entries from `start` on; returns where something else begins."""
        at = start
        while at + newc.HEADER_SIZE <= source.size:
            head = bytes(source.view(at, newc.HEADER_SIZE))
            if not head.startswith((newc.MAGIC, newc.MAGIC_CHECKSUM)):
                break
            try:
                header = newc.parse_header(head)
            except ValueError as error:
                raise self._corrupt(str(error)) from error
            named = at + newc.HEADER_SIZE
            begin = at + newc.aligned(newc.HEADER_SIZE + header.name_size)
            end = begin + header.size
            if not 0 < header.name_size <= newc.MAX_PATH + 1 or end > source.size:
                raise self._corrupt(f"the entry at byte {at} reaches past its end")
            name = bytes(source.view(named, header.name_size))
            if name[-1] or b"\0" in name[:-1]:
                raise self._corrupt(f"the name at byte {at} does not end with its NUL")
            at = min(begin + newc.aligned(header.size), source.size)
            if name[:-1] == newc.TRAILER:
                self._links.clear()
                continue
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise self._corrupt(f"it has more than {MAX_ENTRIES} entries")
            self._add(name[:-1], header, source, begin)
        if at < source.size and bytes(source.view(at, 1)) == b"0":
            raise self._corrupt(f"what stands at byte {at} is no header of newc")
        return at

    def _add(self, name: bytes, header: newc.Header, source: FileSource, begin: int) -> None:
        parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
        if b".." in parts or any(len(part) > NAME_MAX for part in parts):
            raise self._corrupt(f"{show_path(name)} is no path of an entry")
        inode = self._inode(name, header, source, begin)
        if not parts:
            if not isinstance(inode, Directory):
                raise self._corrupt("its root is not a directory")
            inode.entries = self._tree.root.entries
            self._tree.root = inode
            self._folder = (b"", inode)
            return
        folder = self._parent(parts)
        old = folder.entries.get(parts[-1])
        if isinstance(old, Directory):
            if isinstance(inode, Directory):
                inode.entries = old.entries
            elif old.entries:
                raise self._corrupt(f"{show_path(name)} goes over a directory that is not empty")
        if old is not None:
            self._folder = (b"", self._tree.root)
        folder.entries[parts[-1]] = inode

    def _parent(self, parts: tuple[bytes, ...]) -> Directory:
        # Archives list folder by folder, so the one before is mostly the one again.
        path = b"/".join(parts[:-1])
        if path == self._folder[0] and path:
            return self._folder[1]
        where = self._tree.resolve(GuestPath(parts[:-1]))
        found = self._tree.get(where)
        if not isinstance(found, Directory):
            raise self._corrupt(f"{show_path(b'/'.join(parts))} comes before its folder, or without")
        self._folder = (path, found)
        return found

    def _inode(self, name: bytes, header: newc.Header, source: FileSource, begin: int) -> Inode:
        kind = _KINDS.get(header.mode & ~_MODE)
        if kind is None:
            raise self._corrupt(f"{show_path(name)} has the unknown mode {header.mode:o}")
        mode, uid, gid, mtime = header.mode & _MODE, header.uid, header.gid, header.mtime * _SECOND
        if kind is Symlink:
            target = bytes(source.view(begin, header.size))
            if not 0 < len(target) <= newc.MAX_PATH or b"\0" in target:
                raise self._corrupt(f"{show_path(name)} has a target of {len(target)} bytes, or one with NUL")
            return Symlink(target, mode, uid, gid, mtime)
        key = (header.dev_major, header.dev_minor, header.ino, kind.FORMAT)
        known = self._links.get(key) if header.nlink > 1 and kind is not Directory else None
        inode: Inode
        if known is not None:
            inode = known
        elif kind is File:
            inode = File(EMPTY, mode, uid, gid, mtime)
        elif kind is CharDevice or kind is BlockDevice:
            inode = kind(header.rdev_major, header.rdev_minor, mode, uid, gid, mtime)
        else:
            inode = kind(mode, uid, gid, mtime)
        if header.nlink > 1 and kind is not Directory:
            self._links[key] = inode
        if isinstance(inode, File) and header.size:
            inode.content = Content.whole(source, begin, header.size)
        return inode

    def _corrupt(self, what: str) -> BuildError:
        return BuildError(f"{self._path} is no initramfs that can be read: {what}")


def _after_zeros(source: FileSource, at: int) -> int:
    while at < source.size:
        chunk = bytes(source.view(at, min(_CHUNK, source.size - at)))
        rest = chunk.lstrip(b"\0")
        if rest:
            return at + len(chunk) - len(rest)
        at += len(chunk)
    return at
