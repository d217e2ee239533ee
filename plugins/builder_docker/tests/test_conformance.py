"""What every builder must do, with a dockerd that the tests start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.testing import builders
from fledge.testing.conformance.builder import BuilderConformance
from fledge.testing.oracles import run

pytestmark = pytest.mark.xdist_group("dockerd")


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fledge-") as name, builders.dockerd(Path(name)) as host:
        yield host


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
