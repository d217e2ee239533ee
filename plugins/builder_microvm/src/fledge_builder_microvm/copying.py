"""COPY: inodes of one tree into another, as BuildKit does it (tonistiigi/fsutil, copy)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fledge.errors import BuildError
from fledge.tree.inode import Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.values import NAME_MAX, GuestPath, show_path

from fledge_builder_microvm.edit import Edit, Folder, not_a_directory
from fledge_builder_microvm.origins import Origin
from fledge_builder_microvm.patterns import IgnoreRules, has_magic, match_name

NOTHING: Final = IgnoreRules(())


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a source names."""

    name: bytes
    """The last component as the source has it; empty for the root."""
    inode: Inode
    """With symlinks followed, so never one that leads somewhere."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What all that is copied gets. None: what it has."""

    owner: tuple[int, int] | None = None
    mode: int | None = None
    exclude: IgnoreRules = NOTHING


def is_name(name: bytes) -> bool:
    """Whether a directory can have an entry of this name: a URL's or a heredoc's may well be `..`."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name and len(name) <= NAME_MAX


def guest_path(text: str) -> GuestPath:
    """A path from its root; `..` stops there. Raises BuildError for one that Linux can't hold."""
    parts: list[bytes] = []
    for part in os.fsencode(text).split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    try:
        return GuestPath.parse(b"/" + b"/".join(parts))
    except ValueError as error:
        raise BuildError(str(error)) from None


def text_of(path: GuestPath) -> str:
    """The path as programs take it; its `str` is for people."""
    return os.fsdecode(bytes(path))


def find_sources(origin: Origin, source: str) -> list[Found]:
    """What `source` names in `origin`, by name; several only where it is a pattern.

    Raises BuildError when it is not there; a pattern that nothing matches gives an empty list.
    """
    path = guest_path(source)
    fixed = next((at for at, part in enumerate(path.parts) if has_magic(os.fsdecode(part))), None)
    if fixed is None:
        return [_found(origin, path, source)]
    top = _found(origin, GuestPath(path.parts[:fixed]), source)
    try:
        matches = list(_matching(top.inode, path.parts[:fixed], path.parts[fixed:]))
    except ValueError as error:
        raise BuildError(str(error)) from None
    return [_found(origin, GuestPath(match), source) for match in matches]


def _found(origin: Origin, path: GuestPath, source: str) -> Found:
    tree = origin.tree()
    try:
        real = tree.resolve(path)
    except BuildError as error:
        raise BuildError(f"{source!r} of {origin.where}: {error.message}") from None
    inode = tree.get(real)
    if inode is None:
        raise origin.missing(source, real)
    return Found(path.name, inode)


def _matching(inode: Inode | None, path: tuple[bytes, ...], patterns: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    # Symlinks to folders are not followed below the pattern's beginning, as filepath.WalkDir does not.
    if not patterns:
        yield path
        return
    matches = match_name(os.fsdecode(patterns[0]))
    if isinstance(inode, Directory):
        for name, child in sorted(inode.entries.items()):
            if matches(name):
                yield from _matching(child, (*path, name), patterns[1:])


def copy(edit: Edit, found: Found, destination: GuestPath, *, into: bool, manner: Manner) -> None:
    """Copies a file to `destination`, or into it where `into` or where it is a directory; of a directory, its entries.

    Raises BuildError where something of another kind is in the way.
    """
    owner = manner.owner or (0, 0)
    edit.make_folders(destination if into else GuestPath(destination.parts[:-1]), *owner)
    place = edit.tree.resolve(destination)
    there = edit.tree.at(place)
    copier = _Copier(edit, manner)
    if isinstance(found.inode, Directory):
        if there is not None and not isinstance(there, Directory):
            raise not_a_directory(place)
        copier.entries(found.inode, edit.make_folders(place, *owner))
        return
    if isinstance(there, Directory):
        if not is_name(found.name):
            raise BuildError(f"{place} is a directory, and the source has no name for a file in it")
        folder, name = edit.folder(place), found.name
    else:
        # Behind a symlink there may be nothing yet.
        folder, name = edit.make_folders(GuestPath(place.parts[:-1]), *owner), place.name
    if not manner.exclude.ignores(manner.exclude.matches(os.fsdecode(found.name), ())):
        copier.leaf(found.inode, folder, name)


class _Copier:
    """Copies what one source names; of a file with several names in it, one inode."""

    def __init__(self, edit: Edit, manner: Manner) -> None:
        self._edit = edit
        self._manner = manner
        self._copied: dict[int, Inode] = {}

    def entries(self, source: Directory, folder: Folder) -> None:
        """Copies all that a directory holds."""
        exclude = self._manner.exclude
        todo: list[tuple[Directory, Folder, str, Sequence[bool]]] = [(source, folder, "", ())]
        while todo:
            source, folder, relative, above = todo.pop()
            for name, inode in sorted(source.entries.items()):
                below = f"{relative}{os.fsdecode(name)}"
                matches = exclude.matches(below, above)
                if exclude.ignores(matches):
                    continue
                if isinstance(inode, Directory):
                    entered = self._edit.enter(folder, name)
                    self._settle(inode, entered.directory)
                    todo.append((inode, entered, below + "/", matches))
                else:
                    self.leaf(inode, folder, name)

    def leaf(self, inode: Inode, folder: Folder, name: bytes) -> None:
        """Puts a copy of anything but a directory."""
        if isinstance(folder.directory.entries.get(name), Directory):
            raise BuildError(f"{show_path(folder.prefix + name)} is a directory; a file can't be copied over it")
        if isinstance(inode, Socket):
            raise BuildError(
                f"{show_path(name)[1:]} is a socket, which no layer can hold", hint="name it in .dockerignore"
            )
        copied = self._copied.get(id(inode))
        if copied is None:
            copied = self._copied[id(inode)] = self._copy_of(inode)
        self._edit.put(folder, name, copied)

    def _copy_of(self, inode: Inode) -> Inode:
        manner = self._manner
        uid, gid = manner.owner or (inode.uid, inode.gid)
        if isinstance(inode, Symlink):  # chmod(2) follows them.
            return Symlink(inode.target, inode.mode, uid, gid, inode.mtime, inode.xattrs)
        mode = inode.mode if manner.mode is None else manner.mode
        if isinstance(inode, File):
            return File(inode.content, mode, uid, gid, inode.mtime, inode.xattrs)
        if isinstance(inode, Device):
            return type(inode)(inode.major, inode.minor, mode, uid, gid, inode.mtime, inode.xattrs)
        assert isinstance(inode, Fifo)
        return Fifo(mode, uid, gid, inode.mtime, inode.xattrs)

    def _settle(self, source: Directory, target: Directory) -> None:
        manner = self._manner
        target.uid, target.gid = manner.owner or (source.uid, source.gid)
        target.mode = source.mode if manner.mode is None else manner.mode
        target.mtime, target.xattrs = source.mtime, source.xattrs
