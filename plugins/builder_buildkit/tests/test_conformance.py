"""What every builder must do, with a buildkitd that the tests start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fledge.testing import builders
from fledge.testing.conformance.builder import BuilderConformance

pytestmark = pytest.mark.xdist_group("buildkitd")


@pytest.fixture(scope="module")
def daemon(programs: Path) -> Iterator[Mapping[str, str]]:
    """Started before a check has its own folder for temporary files, which the daemon would use, too."""
    with (
        tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name,
        builders.buildkitd(Path(name), programs / "buildkitd") as address,
    ):
        yield {"PATH": f"{programs}:{os.environ['PATH']}", "FLEDGE_BUILDKIT_ADDR": address}


class TestBuildkit(BuilderConformance):
    name = "buildkit"

    @pytest.fixture
    def environ(self, daemon: Mapping[str, str], temporary: None) -> dict[str, str]:
        return {**os.environ, **daemon}
