"""The build context as a tree, so that copying from it is copying from any other.

A folder is read when something looks into it. Symlinks are inodes like others and are followed in the tree, where `..`
stops at its root: nothing outside of the context is ever opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fledge.atomic import SUFFIX
from fledge.errors import BuildError
from fledge.tree.content import Content
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

from fledge_builder_microvm.context_file import ContextFile
from fledge_builder_microvm.patterns import IgnoreRules

_SECOND: Final = 10**9
_UNFINISHED: Final = (os.fsencode(SUFFIX), os.fsencode(f"{SUFFIX}.d"))
"""What another build writes its artifact to meanwhile: in the context when nothing else is said, under a random name."""
_KEPT_XATTRS: Final = ("user.", "security.capability")
"""Others (SELinux labels, ACLs) are the host's and not the project's."""


def context_tree(folder: Path, rules: IgnoreRules, epoch: int) -> Tree:
    """The folder without what `rules` ignore, every owner 0:0. Raises BuildError when it can't be read."""
    try:
        status = os.stat(folder)
    except OSError as error:
        raise BuildError(f"can't read the build context {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise BuildError(f"the build context {folder} is not a folder")
    reader = _Reader(rules)
    return Tree(_HostDirectory(reader, os.fsencode(folder), "", (), status), epoch)


class _Reader:
    def __init__(self, rules: IgnoreRules) -> None:
        self.rules = rules
        self.linked: dict[tuple[int, int], Inode] = {}
        """Files that have several names: one inode, however many of these are met."""

    def read(self, folder: bytes, relative: str, matches: Sequence[bool]) -> dict[bytes, Inode]:
        entries: dict[bytes, Inode] = {}
        try:
            with os.scandir(folder) as scan:
                found = sorted(
                    (entry.name, entry.path, entry.stat(follow_symlinks=False))
                    for entry in scan
                    if not entry.name.endswith(_UNFINISHED)
                )
        except OSError as error:
            raise BuildError(f"can't read {os.fsdecode(folder)}: {error.strerror}") from error
        for name, path, status in found:
            below = f"{relative}/{os.fsdecode(name)}" if relative else os.fsdecode(name)
            here = self.rules.matches(below, matches)
            ignored = self.rules.ignores(here)
            if stat.S_ISDIR(status.st_mode):
                if ignored and not self.rules.may_keep_below(below):
                    continue
                directory = _HostDirectory(self, path, below, here, status)
                # An ignored folder is there for the sake of what a rule keeps in it.
                if ignored and not directory.entries:
                    continue
                entries[name] = directory
            elif not ignored:
                entries[name] = self._inode(path, status)
        return entries

    def _inode(self, path: bytes, status: os.stat_result) -> Inode:
        identity = status.st_dev, status.st_ino
        if status.st_nlink > 1 and identity in self.linked:
            return self.linked[identity]
        inode = self._new(path, status)
        if status.st_nlink > 1:
            self.linked[identity] = inode
        return inode

    def _new(self, path: bytes, status: os.stat_result) -> Inode:
        kind = stat.S_IFMT(status.st_mode)
        mode, mtime = stat.S_IMODE(status.st_mode), _mtime(status)
        if kind == stat.S_IFLNK:
            return Symlink(os.readlink(path), mtime=mtime)
        if kind == stat.S_IFREG:
            return File(Content.whole(ContextFile(path, status)), mode, mtime=mtime, xattrs=xattrs(path))
        if kind == stat.S_IFIFO:
            return Fifo(mode, mtime=mtime)
        if kind == stat.S_IFSOCK:
            return Socket(mode, mtime=mtime)
        device = CharDevice if kind == stat.S_IFCHR else BlockDevice
        return device(os.major(status.st_rdev), os.minor(status.st_rdev), mode, mtime=mtime)


class _HostDirectory(Directory):
    """A directory whose entries are read when they are first asked for."""

    __slots__ = ("_found", "_matches", "_path", "_reader", "_relative")

    def __init__(
        self, reader: _Reader, path: bytes, relative: str, matches: Sequence[bool], status: os.stat_result
    ) -> None:
        Inode.__init__(self, stat.S_IMODE(status.st_mode), mtime=_mtime(status), xattrs=xattrs(path))
        self._reader = reader
        self._path = path
        self._relative = relative
        self._matches = matches
        self._found: dict[bytes, Inode] | None = None

    @property
    def entries(self) -> dict[bytes, Inode]:  # type: ignore[override]
        if self._found is None:
            self._found = self._reader.read(self._path, self._relative, self._matches)
        return self._found


def _mtime(status: os.stat_result) -> int:
    """In whole seconds: clones, archives and Docker's layers keep no more, and the same project gives the same bytes."""
    return status.st_mtime_ns // _SECOND * _SECOND


def xattrs(path: bytes) -> Mapping[bytes, bytes]:
    """What travels with a file of the context."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        if not names:
            return NO_XATTRS
        kept = {name: os.getxattr(path, name, follow_symlinks=False) for name in names if name.startswith(_KEPT_XATTRS)}
    except OSError:
        return NO_XATTRS  # A filesystem without them.
    return {os.fsencode(name): value for name, value in kept.items()} or NO_XATTRS
