"""What every builder must do, with a buildkitd that the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import pytest
from fledge.testing.conformance.builder import BuilderConformance

pytestmark = pytest.mark.xdist_group("buildkitd")


@pytest.fixture(scope="session")
def daemon(environ: dict[str, str]) -> Mapping[str, str]:
    """Started before a check has its own folder for temporary files, which the daemon would use, too."""
    return environ


class TestBuildkit(BuilderConformance):
    name = "buildkit"

    @pytest.fixture
    def environ(self, daemon: Mapping[str, str], temporary: None) -> dict[str, str]:
        return {**daemon, "TMPDIR": tempfile.gettempdir()}
