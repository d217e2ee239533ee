from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.testing.conformance import packing
from fledge.testing.oracles import need_tool
from fledge.testing.oracles import run as run_tool
from fledge.tree.tree import Tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree as the build does: `pack(tree, name="t.img", epoch=None, size_buffer_mb=...)`."""

    def run(tree: Tree, name: str = "t.img", epoch: int | None = None, **options: object) -> Path:
        packed = packing.pack("ext4", options, tree, tmp_path, file_name=name, epoch=epoch, hashed=False)
        assert packed.artifact.size == packed.path.stat().st_size
        return packed.path

    return run


@pytest.fixture
def fsck() -> Fsck:
    """Fails unless e2fsck finds nothing at all to say against an image."""
    e2fsck = need_tool("e2fsck", "e2fsprogs")

    def run(image: Path) -> None:
        run_tool(e2fsck, "-fn", image)

    return run
