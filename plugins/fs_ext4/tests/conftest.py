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
from fledge_fs_ext4.driver import Ext4
from fledge_fs_ext4.options import Ext4Options

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree as the build does: `pack(tree, name="t.img", epoch=None, size_buffer_mb=...)`."""

    def run(tree: Tree, name: str = "t.img", epoch: int | None = None, **options: object) -> Path:
        chosen = Ext4Options.model_validate(options)
        driver = Ext4("ext4", chosen, BuildContext(Store(tmp_path / "store")))
        plan = BuildPlan(
            base_dir=tmp_path,
            strategy=Choice("oci_rootfs", NoOptions()),
            filesystem=Choice("ext4", chosen),
            agent=None,
            mappings=(),
            manifest={},
            platform=Platform("linux", "amd64"),
            epoch=epoch,
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
def fsck() -> Fsck:
    """Fails unless e2fsck finds nothing at all to say against an image."""
    e2fsck = need_tool("e2fsck", "e2fsprogs")

    def run(image: Path) -> None:
        run_tool(e2fsck, "-fn", image)

    return run
