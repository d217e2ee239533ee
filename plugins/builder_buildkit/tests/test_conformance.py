"""What every builder must do, with a buildkitd that the tests start."""

from __future__ import annotations

import tempfile

import pytest
from fledge.testing.conformance.builder import BuilderConformance

pytestmark = pytest.mark.xdist_group("buildkitd")


class TestBuildkit(BuilderConformance):
    name = "buildkit"

    @pytest.fixture
    def environ(self, temporary: None, environ: dict[str, str]) -> dict[str, str]:
        return {**environ, "TMPDIR": tempfile.gettempdir()}
