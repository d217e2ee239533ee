"""Whole images against `btrfs check` and the kernel."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.testing.oracles import mounted
from fledge.testing.trees import EPOCH, differences, hard_tree
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree

Pack = Callable[..., Path]
Check = Callable[[Path], None]


def shuffled(tree: Tree) -> Tree:
    """The same tree, with every folder's entries in another order."""
    for _, inode in list(tree.walk()):
        if isinstance(inode, Directory):
            entries = list(inode.entries.items())
            random.Random(7).shuffle(entries)
            inode.entries = dict(entries)
    return tree


def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, check: Check) -> None:
    tree = hard_tree()
    image = pack(tree)
    check(image)
    with mounted(image, "btrfs") as folder:
        assert differences(tree, folder) == []


def test_the_same_tree_gives_the_same_bytes(pack: Pack) -> None:
    one = pack(hard_tree(), "one.img", size_buffer_mb=4).read_bytes()
    assert pack(shuffled(hard_tree()), "two.img", size_buffer_mb=4).read_bytes() == one


@pytest.mark.parametrize("tree", [Tree(Directory(0o700, 1000, 1001, EPOCH + 1))])
def test_an_empty_tree(pack: Pack, check: Check, tree: Tree) -> None:
    image = pack(tree)
    check(image)
    with mounted(image, "btrfs") as folder:
        assert differences(tree, folder) == []
