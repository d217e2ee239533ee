from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.progress import Progress
from fledge.testing.builds import Log
from fledge.testing.conformance import packing
from fledge.tree.tree import Tree
from fledge.values import Digest
from fledge_fs_cpio.driver import Cpio
from fledge_fs_cpio.options import CpioOptions

Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path, fledge_log: Log) -> Pack:
    """Packs a tree as a build does, and gives the archive: `pack(tree, jobs=2, compression=...)`."""
    numbers = itertools.count()

    def pack(tree: Tree, *, jobs: int = 2, **options: object) -> Path:
        name = f"{next(numbers)}{Cpio.artifact_suffix(CpioOptions.model_validate(options))}"
        packed = packing.pack("cpio", options, tree, tmp_path, jobs=jobs, file_name=name, progress=Progress(fledge_log))
        assert packed.digest == Digest.of(packed.path.read_bytes())
        return packed.path

    return pack
