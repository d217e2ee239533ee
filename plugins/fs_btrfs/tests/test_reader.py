"""The reader: our own images, those of mkfs.btrfs and the kernel, and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fledge.testing.trees import hard_tree
from fledge.tree.inode import Device, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge_fs_btrfs.reader import read_tree

Pack = Callable[..., Path]


def described(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    """Every path with all there is to its inode; hard links share the first path."""
    first: dict[int, bytes] = {}
    return {path: (first.setdefault(id(inode), path), *describe(inode)) for path, inode in tree.walk()}


def describe(inode: Inode) -> tuple[object, ...]:
    detail: object = None
    if isinstance(inode, File):
        detail = inode.content.size, inode.content.read() if inode.content.size < 1 << 26 else None
    elif isinstance(inode, Symlink):
        detail = inode.target
    elif isinstance(inode, Device):
        detail = inode.major, inode.minor
    return type(inode), inode.mode, inode.uid, inode.gid, inode.mtime, dict(inode.xattrs), detail


def test_our_images_are_read_back(pack: Pack) -> None:
    tree = hard_tree()
    assert described(read_tree(pack(tree))) == described(tree)


def test_what_was_read_is_packed_into_the_same_bytes(pack: Pack) -> None:
    one = pack(hard_tree(), "one.img", size_buffer_mb=2)
    two = pack(read_tree(one), "two.img", size_buffer_mb=2)
    assert two.read_bytes() == one.read_bytes()
