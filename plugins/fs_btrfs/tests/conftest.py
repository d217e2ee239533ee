from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.options import NoOptions
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan, Choice
from fledge.store import Store
from fledge.testing.oracles import need_tool
from fledge.testing.oracles import run as run_tool
from fledge.tree.tree import Tree
from fledge.values import Platform
from fledge_fs_btrfs.driver import Btrfs, BtrfsOptions

Pack = Callable[..., Path]
Check = Callable[[Path], None]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree as the build does: `pack(tree, name="t.img", size_buffer_mb=...)`."""

    def run(tree: Tree, name: str = "t.img", **options: object) -> Path:
        chosen = BtrfsOptions.model_validate(options)
        driver = Btrfs("btrfs", chosen, BuildContext(Store(tmp_path / "store")))
        plan = BuildPlan(
            base_dir=tmp_path,
            strategy=Choice("oci_rootfs", NoOptions()),
            filesystem=Choice("btrfs", chosen),
            agent=None,
            mappings=(),
            manifest={},
            platform=Platform("linux", "amd64"),
            epoch=None,
        )
        target = ArtifactFile(tmp_path / name)
        try:
            artifact = driver.pack_artifact(plan, tree, target)
            target.commit()
        except BuildError:
            target.discard()
            raise
        assert artifact.size == artifact.path.stat().st_size
        return artifact.path

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
