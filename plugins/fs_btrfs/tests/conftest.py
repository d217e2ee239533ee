from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.testing.conformance import packing
from fledge.testing.oracles import need_tool
from fledge.testing.oracles import run as run_tool
from fledge.tree.tree import Tree

Pack = Callable[..., Path]
Check = Callable[[Path], None]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree as the build does: `pack(tree, name="t.img", size_buffer_mb=...)`."""

    def run(tree: Tree, name: str = "t.img", **options: object) -> Path:
        packed = packing.pack("btrfs", options, tree, tmp_path, file_name=name, hashed=False)
        assert packed.artifact.size == packed.path.stat().st_size
        return packed.path

    return run


@pytest.fixture
def check() -> Check:
    """Fails unless `btrfs check` finds nothing at all to say against an image, its data included."""
    btrfs = need_tool("btrfs", "btrfs-progs")

    def run(image: Path) -> None:
        done = run_tool(btrfs, "check", "--readonly", "--check-data-csum", image)
        assert "no error found" in done.stdout
        told = done.stderr.splitlines()
        assert [line for line in told if not line.startswith("[")] == [], told

    return run
