from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.options import NoOptions
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan, Choice
from fledge.testing.builds import Log, context
from fledge.tree.tree import Tree
from fledge.values import Digest, Platform
from fledge_fs_cpio.driver import Cpio
from fledge_fs_cpio.options import CpioOptions

Pack = Callable[..., Path]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def pack(tmp_path: Path, log: Log) -> Pack:
    """Packs a tree with the driver, as a build does, and gives the archive."""
    count = 0

    def pack(tree: Tree, *, jobs: int = 2, **options: object) -> Path:
        nonlocal count
        count += 1
        chosen = CpioOptions.model_validate(options)
        driver = Cpio("cpio", chosen, context(tmp_path / "cache", log, jobs=jobs))
        plan = BuildPlan(
            base_dir=tmp_path,
            strategy=Choice("initramfs", NoOptions()),
            filesystem=Choice("cpio", chosen),
            agent=None,
            mappings=(),
            manifest={},
            platform=Platform("linux", "amd64"),
        )
        target = ArtifactFile(tmp_path / f"{count}{Cpio.artifact_suffix(chosen)}")
        try:
            artifact = driver.pack_artifact(plan, tree, target)
            assert (artifact.path, artifact.format, artifact.tree) == (target.path, "cpio", tree)
            assert artifact.digest == Digest.of(Path(f"/proc/self/fd/{target.fileno()}").read_bytes())
            target.commit()
        finally:
            target.discard()
        return target.path

    return pack
