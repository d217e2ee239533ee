"""What every builder must do, with a dockerd that the tests start."""

from __future__ import annotations

import os

import pytest
from fledge.testing.conformance.builder import BuilderConformance
from fledge.testing.oracles import run

pytestmark = pytest.mark.xdist_group("dockerd")


class TestDocker(BuilderConformance):
    name = "docker"
    host: str

    @pytest.fixture
    def environ(self, temporary: None, host: str) -> dict[str, str]:
        type(self).host = host
        return {**os.environ, "DOCKER_HOST": host}

    def traces(self) -> object:
        listed = [
            run("docker", f"--host={self.host}", what, "ls", "--all", "-q").stdout for what in ("image", "container")
        ]
        return super().traces(), listed
