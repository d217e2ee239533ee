from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.options import NoOptions
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan, Choice
from fledge.store import Store
from fledge.tree.tree import Tree
from fledge.values import Digest, Platform
from fledge_fs_squashfs.driver import Squashfs
from fledge_fs_squashfs.options import SquashfsOptions

Pack = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def pack(tmp_path: Path, store: Store) -> Pack:
    """Packs a tree with the driver, as a build does, and gives the image."""
    numbers = itertools.count()

    def pack(tree: Tree, *, jobs: int = 2, store: Store = store, epoch: int | None = None, **options: object) -> Path:
        chosen = SquashfsOptions.model_validate(options)
        driver = Squashfs("squashfs", chosen, BuildContext(store, jobs=jobs))
        plan = BuildPlan(
            base_dir=tmp_path,
            strategy=Choice("oci_rootfs", NoOptions()),
            filesystem=Choice("squashfs", chosen),
            agent=None,
            mappings=(),
            manifest={},
            platform=Platform("linux", "amd64"),
            epoch=epoch,
        )
        target = ArtifactFile(tmp_path / f"{next(numbers)}.img")
        try:
            artifact = driver.pack_artifact(plan, tree, target)
            assert (artifact.path, artifact.format, artifact.tree) == (target.path, "squashfs", tree)
            assert artifact.size % 4096 == 0
            assert artifact.digest == Digest.of(Path(f"/proc/self/fd/{target.fileno()}").read_bytes())
            target.commit()
        finally:
            target.discard()
        return target.path

    return pack
