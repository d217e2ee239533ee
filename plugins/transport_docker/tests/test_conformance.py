"""What every transport must do, with a dockerd that the tests start."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.testing import builders
from fledge.testing.conformance.transport import Publish, TransportConformance
from fledge.testing.images import Blobs, Json
from fledge.testing.oracles import need_tool, run

pytestmark = pytest.mark.xdist_group("dockerd")
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fledge-") as name, builders.dockerd(Path(name)) as host:
        yield host


class TestDockerDaemon(TransportConformance):
    name = "docker-daemon"
    indexes = False
    serves_blobs = False
    test_an_image_without_layers_arrives = None  # The engine can't export one ("empty export").
    test_a_layer_that_is_not_the_configs = None  # The engine itself takes none.

    @pytest.fixture
    def publish(self, host: str, fledge_context: BuildContext, tmp_path: Path) -> Publish:
        need_tool("skopeo")
        fledge_context.environ["DOCKER_HOST"] = host  # type: ignore[index]

        def publish(blobs: Blobs, top: Json | None) -> str:
            name = f"app:{next(NUMBERS)}"
            if top is not None:
                layout = blobs.layout(tmp_path / "layout", {"1": top})
                run("skopeo", "copy", "-q", f"--dest-daemon-host={host}", f"oci:{layout}:1", f"docker-daemon:{name}")
                builders.eventually(
                    lambda: run("docker", f"--host={host}", "image", "inspect", name, check=False).returncode == 0
                )
            return name

        return publish
