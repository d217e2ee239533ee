from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.store import Store
from fledge.testing.tars import add_layer, archive
from fledge.tree.merge import merge
from fledge.tree.tree import Tree

EPOCH = 1_234_567_890_123_456_789

Merged = Callable[..., Tree]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def merged(store: Store) -> Merged:
    """A function: layers, each a list of members, lowest first -> their tree."""

    def merge_layers(*layers: list[bytes]) -> Tree:
        return Tree(merge([add_layer(store, archive(*members)) for members in layers], EPOCH), EPOCH)

    return merge_layers
