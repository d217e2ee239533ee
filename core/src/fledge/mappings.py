"""Mappings: files and folders of the host that are put into the tree last (spec section 3).

A mapped file gets a new identity, so that an artifact does not depend on who builds it: owner 0:0, the tree's
epoch as its mtime. What else the host knows about it (setuid, xattrs, hard links between
mapped files, holes) stays behind: two checkouts of one repository must give the same bytes.

Modes: 0755 for folders, for files that anybody may execute on the host (who exactly depends on the umask of whoever
checked them out), for files at or below the program folders, and for shared objects at or below the library folders;
0644 for all others. A folder counts by the path that the mapping names as well as by where that leads.

Where a destination leads is settled against the image as it was before any mapping. Its directories are then looked
up as a chroot would, so that `/bin/tool` lands in `/usr/bin` where the image links there. The last component:

- a folder's contents go into the destination, with or without a `/` at its end; directories that are there keep
  their metadata
- a file goes into the destination under its own name when that ends in `/` or is a directory of the image
- otherwise the destination is what is replaced, also when it is a symlink: to follow it would overwrite busybox
  when `/bin/ls` is mapped, and would put `/etc/resolv.conf` under the `/run` that the guest mounts over
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from fledge.errors import BuildError
from fledge.plan import Mapping
from fledge.tree.content import Content, HostFileSource
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath, show_path

_BIN: Final = frozenset(
    tuple(path.split(b"/"))
    for path in (b"bin", b"sbin", b"usr/bin", b"usr/sbin", b"usr/local/bin", b"usr/local/sbin", b"opt/bin", b"opt/sbin")
)
_LIB: Final = frozenset(
    tuple(path.split(b"/"))
    for path in (b"lib", b"lib64", b"usr/lib", b"usr/lib64", b"usr/local/lib", b"usr/local/lib64")
)
_SHARED_OBJECT: Final = re.compile(rb".+\.so(\.[0-9]+)*", re.DOTALL)
_ANY_X: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_OTHER_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class _Taker(NamedTuple):
    """What a place in the tree belongs to: a file or folder of the host, and who asked for its mapping."""

    path: bytes
    origin: str

    def __str__(self) -> str:
        path = show_path(self.path)
        return path if self.origin == "fledge.toml" else f"{path} (from {self.origin})"


class _Folder(NamedTuple):
    """A directory of the tree that is being filled."""

    inode: Directory
    path: GuestPath
    """Without symlinks on the way."""
    written: tuple[bytes, ...]
    """The path by which the mapping names it."""
    holds_programs: bool
    holds_libraries: bool


def apply(mappings: Sequence[Mapping], tree: Tree) -> None:
    """Puts the mappings into the tree, sorted by destination, whatever the order they are given in.

    Raises BuildError for a source that is missing, unreadable, or neither file, folder nor symlink; for a place
    that is taken by something of another kind; and, naming both sources, where two mappings go to one place.
    """
    settled = [(_destination(mapping, tree), mapping) for mapping in mappings]
    settled.sort(key=lambda pair: (pair[0].parts, pair[1].source, pair[1].origin))
    for (place, first), (other, second) in pairwise(settled):
        if place == other:
            raise _both(_taker(first), _taker(second), place)
    placer = _Placer(tree)
    for place, mapping in settled:
        placer.put(mapping, place)


def _destination(mapping: Mapping, tree: Tree) -> GuestPath:
    """Where the source goes, with the symlinks of the image on the way resolved."""
    wanted = mapping.destination
    try:
        status = os.lstat(mapping.source)
    except OSError as error:
        raise BuildError(
            f"can't map {_taker(mapping)} to {wanted}: {error.strerror}",
            hint="a relative path starts at the folder of fledge.toml",
        ) from error
    try:
        entered = tree.resolve(wanted)
        if stat.S_ISDIR(status.st_mode):
            return entered
        if mapping.into or isinstance(tree.get(entered), Directory):
            return entered / os.fsencode(mapping.source.name)
        return tree.resolve(wanted, follow_last=False)
    except BuildError as error:
        raise BuildError(f"can't map {_taker(mapping)} to {wanted}: {error.message}") from error


class _Placer:
    """Puts what is on the host into the tree, and remembers who took which place."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._taken: dict[tuple[bytes, ...], _Taker] = {}

    def put(self, mapping: Mapping, place: GuestPath) -> None:
        top = os.fsencode(mapping.source)
        status = _lstat(top, mapping.origin)
        wanted = mapping.destination.parts
        if not stat.S_ISDIR(status.st_mode):
            parent = GuestPath(place.parts[:-1])
            written = wanted if mapping.into else wanted[:-1]
            self._leaf(self._enter(parent, written, _taker(mapping)), place.name, status, _taker(mapping))
            return
        # A stack of its own: how deep a folder of the host goes is not for Python's to bound.
        todo = [(top, place, wanted)]
        while todo:
            path, place, wanted = todo.pop()
            folder = self._enter(place, wanted, _Taker(path, mapping.origin))
            for name in reversed(_names(path, mapping.origin)):
                taker = _Taker(path + b"/" + name, mapping.origin)
                status = _lstat(*taker)
                if stat.S_ISDIR(status.st_mode):
                    todo.append((taker.path, folder.path / name, (*wanted, name)))
                else:
                    self._leaf(folder, name, status, taker)

    def _enter(self, path: GuestPath, written: tuple[bytes, ...], taker: _Taker) -> _Folder:
        """The directory at `path`, made where it is missing; a directory of the image is kept as it is."""
        try:
            real = self._tree.resolve(path)
            inode = self._tree.directory(real)
        except BuildError as error:
            for depth in range(1, len(path.parts) + 1):
                place = GuestPath(path.parts[:depth])
                other = self._taken.get(place.parts)
                if other is not None and not isinstance(self._tree.get(place), Directory):
                    raise _both(other, taker, place) from error
            raise BuildError(f"can't map {taker} to {path}: {error.message}") from error
        self._taken.setdefault(real.parts, taker)
        return _Folder(
            inode,
            real,
            written,
            holds_programs=_below(_BIN, real.parts) or _below(_BIN, written),
            holds_libraries=_below(_LIB, real.parts) or _below(_LIB, written),
        )

    def _leaf(self, folder: _Folder, name: bytes, status: os.stat_result, taker: _Taker) -> None:
        """Puts a file or symlink into a directory, over whatever but a directory has its name there."""
        parts = (*folder.path.parts, name)
        other = self._taken.get(parts)
        if other is not None:
            raise _both(other, taker, GuestPath(parts))
        if isinstance(folder.inode.entries.get(name), Directory):
            raise BuildError(f"can't map {taker} to {GuestPath(parts)}: it is a directory of the image")
        self._taken[parts] = taker
        folder.inode.entries[name] = _inode(folder, name, status, taker, self._tree.epoch)


def _inode(folder: _Folder, name: bytes, status: os.stat_result, taker: _Taker, epoch: int) -> Inode:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        return Symlink(os.readlink(taker.path), mtime=epoch)
    if kind != stat.S_IFREG:
        raise BuildError(
            f"can't map {taker}: it is {_OTHER_KINDS.get(kind, 'of an unknown kind')}; a file, folder or symlink is allowed"
        )
    executable = (
        status.st_mode & _ANY_X or folder.holds_programs or (folder.holds_libraries and _SHARED_OBJECT.fullmatch(name))
    )
    return File(_content(taker), 0o755 if executable else 0o644, mtime=epoch)


def _content(taker: _Taker) -> Content:
    """The file's bytes, read when the artifact is written. Whether it can be read is found out now."""
    try:
        fd = os.open(taker.path, _OPEN)
        try:
            return Content.whole(HostFileSource(taker.path, os.fstat(fd)))
        finally:
            os.close(fd)
    except OSError as error:
        raise _unusable(taker, error) from error


def _below(folders: frozenset[tuple[bytes, ...]], parts: tuple[bytes, ...]) -> bool:
    return any(parts[:depth] in folders for depth in range(1, 4))


def _lstat(path: bytes, origin: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise _unusable(_Taker(path, origin), error) from error


def _names(path: bytes, origin: str) -> list[bytes]:
    """Sorted as bytes: what the filesystem of the host returns depends on its history."""
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        raise _unusable(_Taker(path, origin), error) from error


def _taker(mapping: Mapping) -> _Taker:
    return _Taker(os.fsencode(mapping.source), mapping.origin)


def _both(first: _Taker, second: _Taker, place: GuestPath) -> BuildError:
    return BuildError(f"two mappings go to {place}: {first} and {second}", hint="give one of them another destination")


def _unusable(taker: _Taker, error: OSError) -> BuildError:
    return BuildError(f"can't map {taker}: {error.strerror}")
