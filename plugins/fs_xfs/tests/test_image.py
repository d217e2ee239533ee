"""Whole images against xfs_repair, xfs_db, xfs_growfs and the kernel."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from fledge.testing.oracles import mounted
from fledge.testing.trees import EPOCH, differences
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]
Make = Callable[[], Tree]
Shown = Callable[[Tree], Tree]


def shuffled(tree: Tree) -> Tree:
    """The same tree, with every folder's entries in another order."""
    for _, inode in list(tree.walk()):
        if isinstance(inode, Directory):
            entries = list(inode.entries.items())
            random.Random(7).shuffle(entries)
            inode.entries = dict(entries)
    return tree


def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, fsck: Fsck, hard: Make, shown: Shown) -> None:
    image = pack(hard())
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(shown(hard()), folder) == []


def test_the_same_tree_gives_the_same_bytes(pack: Pack, hard: Make) -> None:
    one = pack(hard(), "one.img", size_buffer_mb=4).read_bytes()
    assert pack(shuffled(hard()), "two.img", size_buffer_mb=4).read_bytes() == one


def test_an_empty_tree(pack: Pack, fsck: Fsck) -> None:
    tree = Tree(Directory(0o700, 1000, 1001, EPOCH + 1))
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []
