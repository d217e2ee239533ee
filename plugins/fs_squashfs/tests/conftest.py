from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.store import Store
from fledge.testing.conformance import packing
from fledge.tree.tree import Tree
from fledge.values import Digest

Pack = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def pack(tmp_path: Path, store: Store) -> Pack:
    """Packs a tree as a build does, and gives the image: `pack(tree, jobs=2, store=..., epoch=None, block_size=...)`."""
    numbers = itertools.count()

    def pack(tree: Tree, *, jobs: int = 2, store: Store = store, epoch: int | None = None, **options: object) -> Path:
        name = f"{next(numbers)}.img"
        packed = packing.pack("squashfs", options, tree, tmp_path, jobs=jobs, store=store, file_name=name, epoch=epoch)
        assert packed.artifact.size % 4096 == 0
        assert packed.digest == Digest.of(packed.path.read_bytes())
        return packed.path

    return pack
