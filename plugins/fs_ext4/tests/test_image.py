"""The image against e2fsck and the kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import differences, hard_tree

Pack = Callable[..., Path]


def fsck(image: Path) -> None:
    run(need_tool("e2fsck", "e2fsprogs"), "-fn", image)


@pytest.mark.parametrize("journal", [True, False])
def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, journal: bool) -> None:
    need_root()
    tree = hard_tree()
    image = pack(tree, journal=journal)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []
