from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.options import NoOptions
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan, Choice
from fledge.testing import builds
from fledge.testing.oracles import need_tool
from fledge.testing.oracles import run as run_tool
from fledge.tree.tree import Tree
from fledge.values import Platform
from fledge_fs_erofs.driver import Erofs
from fledge_fs_erofs.options import ErofsOptions

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree as the build does: `pack(tree, name="t.img", epoch=None, jobs=2, compression=...)`."""

    def run(tree: Tree, name: str = "t.img", epoch: int | None = None, jobs: int = 2, **options: object) -> Path:
        chosen = ErofsOptions.model_validate(options)
        driver = Erofs("erofs", chosen, builds.context(tmp_path / "store", jobs=jobs))
        plan = BuildPlan(
            base_dir=tmp_path,
            strategy=Choice("oci_rootfs", NoOptions()),
            filesystem=Choice("erofs", chosen),
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
    """Fails unless fsck.erofs can read every byte of an image and finds nothing to say against it."""
    tool = need_tool("fsck.erofs", "erofs-utils")

    def run(image: Path) -> None:
        done = run_tool(tool, "--extract", image)
        assert "<E>" not in done.stderr, done.stderr  # It exits with 0 also where a checksum is wrong.

    return run
