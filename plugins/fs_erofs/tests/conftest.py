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
    """Packs a tree as the build does: `pack(tree, name="t.img", epoch=None, jobs=2, compression=...)`."""

    def run(tree: Tree, name: str = "t.img", epoch: int | None = None, jobs: int = 2, **options: object) -> Path:
        packed = packing.pack("erofs", options, tree, tmp_path, file_name=name, epoch=epoch, jobs=jobs)
        assert packed.artifact.size == packed.path.stat().st_size
        return packed.path

    return run


@pytest.fixture
def fsck() -> Fsck:
    """Fails unless fsck.erofs can read every byte of an image and finds nothing to say against it."""
    tool = need_tool("fsck.erofs", "erofs-utils")

    def run(image: Path) -> None:
        done = run_tool(tool, "--extract", image)
        assert "<E>" not in done.stderr, done.stderr  # It exits with 0 also where a checksum is wrong.

    return run
