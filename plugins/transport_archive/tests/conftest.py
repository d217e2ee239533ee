from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.image.reference import parse_reference
from fledge.kinds import Transport
from fledge.options import NoOptions
from fledge.sources import ImageRequest, ImageSource
from fledge.testing.builds import context
from fledge.values import Platform
from fledge_transport_archive.driver import DockerArchive, OciArchive, OciLayout

Fetch = Callable[..., ImageSource]

DRIVERS: dict[str, type[Transport]] = {"oci": OciLayout, "oci-archive": OciArchive, "docker-archive": DockerArchive}


@pytest.fixture
def build(tmp_path: Path) -> BuildContext:
    return context(tmp_path / "cache")


@pytest.fixture
def fetch(build: BuildContext, tmp_path: Path) -> Fetch:
    """Fetches what a reference names, relative to the test's folder: `fetch("oci:layout:1", "linux/amd64")`."""

    def run(text: str, platform: str = "linux/amd64") -> ImageSource:
        reference = parse_reference(text)
        driver = DRIVERS[reference.transport](reference.transport, NoOptions(), build)
        return driver.fetch_image(ImageRequest(reference, Platform.parse(platform), str(tmp_path)))

    return run
