from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.testing import builders
from fledge.testing.oracles import need_material


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of buildkitd and buildctl."""
    return need_material("programs/buildkitd").parent


@pytest.fixture(scope="session")
def environ(programs: Path) -> Iterator[dict[str, str]]:
    """An environment in which buildctl finds a daemon."""
    with (
        tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name,
        builders.buildkitd(Path(name), programs / "buildkitd") as address,
    ):
        yield {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "FLEDGE_BUILDKIT_ADDR": address}
