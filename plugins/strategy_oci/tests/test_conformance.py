"""What every strategy must do, with an image and an agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fledge.testing.conformance.strategy import StrategyConformance


class TestOciRootfs(StrategyConformance):
    name = "oci_rootfs"
    options: ClassVar = {"source": {"image": "oci:image:latest"}}


class TestOciRootfsOfADockerfile(TestOciRootfs):
    has_agent = False

    @pytest.fixture
    def tables(self, tmp_path: Path) -> Mapping[str, Any]:
        (tmp_path / "Dockerfile").write_text("FROM scratch\n")
        return {"source": {"dockerfile": "Dockerfile"}}
