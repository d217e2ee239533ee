"""Trees and files for single checks: sources that fail, metadata without contents, and what is no artifact."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from fledge.errors import BuildError
from fledge.inspection import HEAD
from fledge.kinds import Filesystem
from fledge.testing.trees import data
from fledge.tree.content import Content, MemorySource, Piece
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree

_MIB: Final = 1 << 20

FOREIGN: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "zeros": bytes(HEAD),
    "noise": random.Random(1).randbytes(HEAD),
    "text": b"the same line again\n" * 5000,
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(4000),
    "gzip": b"\x1f\x8b\x08" + bytes(4000),
}
"""What is no artifact at all."""


def held(tree: Tree, filesystem: Filesystem) -> Tree:
    """`tree`, changed into what the driver says that its format holds of it."""
    for _, inode in list(tree.walk()):
        if isinstance(inode, Directory) and not filesystem.links_symlinks:
            for name, below in inode.entries.items():
                if isinstance(below, Symlink):
                    inode.entries[name] = Symlink(
                        below.target, below.mode, below.uid, below.gid, below.mtime, below.xattrs
                    )
    done: set[int] = set()
    for _, inode in list(tree.walk()):
        if id(inode) not in done:
            done.add(id(inode))
            inode.mtime = filesystem.held_mtime(inode.mtime)
            inode.xattrs = filesystem.held_xattrs(inode.xattrs)
    return tree


class _Failing(MemorySource):
    """A source that ends before it should."""

    def __init__(self, error: BuildError) -> None:
        super().__init__(bytes(_MIB))
        self._error = error

    def view(self, start: int, length: int) -> memoryview:
        raise self._error


def failing_tree(error: BuildError) -> Tree:
    """Some MiB that can be read, then a file that can't, then more."""
    tree = Tree(Directory(0o755))
    for number in range(3):
        tree.root.entries[b"%d" % number] = File(Content.of(data(2 * _MIB, number)), 0o644)
    tree.root.entries[b"1-broken"] = File(Content(_MIB, (Piece(0, _Failing(error), 0, _MIB),)), 0o644)
    return tree


def small_tree(tree: Tree) -> Tree:
    """Without large contents: what is broken then is metadata."""
    for _, inode in list(tree.walk()):
        if isinstance(inode, Directory):
            inode.entries = {name: below for name, below in inode.entries.items() if _is_small(below)}
    return tree


def _is_small(inode: Inode) -> bool:
    return not isinstance(inode, File) or inode.content.size <= 16384
