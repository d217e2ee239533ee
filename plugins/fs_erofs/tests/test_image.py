"""Whole images against the kernel, fsck.erofs and dump.erofs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from fledge.testing.oracles import mounted
from fledge.testing.trees import differences, hard_tree
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


def shuffled(tree: Tree) -> Tree:
    """The same tree, with every folder's entries in another order."""
    for _, inode in list(tree.walk()):
        if isinstance(inode, Directory):
            entries = list(inode.entries.items())
            random.Random(7).shuffle(entries)
            inode.entries = dict(entries)
    return tree


def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, fsck: Fsck) -> None:
    tree = hard_tree()
    image = pack(tree)
    fsck(image)
    with mounted(image, "erofs") as folder:
        assert differences(tree, folder) == []


def test_the_same_tree_gives_the_same_bytes(pack: Pack) -> None:
    one = pack(hard_tree(), "one.img").read_bytes()
    assert pack(shuffled(hard_tree()), "two.img").read_bytes() == one
