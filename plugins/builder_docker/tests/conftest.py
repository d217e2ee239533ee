from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.testing import builders


@pytest.fixture(scope="session")
def host() -> Iterator[str]:
    """The DOCKER_HOST of a daemon that has nothing."""
    with (
        tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name,
        builders.dockerd(Path(name)) as host,
    ):
        yield host
