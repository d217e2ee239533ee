"""What every strategy must do, with and without an image below."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from fledge.testing.conformance.strategy import StrategyConformance
from fledge.testing.oracles import need_tool


class TestInitramfs(StrategyConformance):
    name = "initramfs"
    filesystem = "cpio"
    has_image = False

    @pytest.fixture
    def tables(self, tmp_path: Path) -> dict[str, Any]:
        (tmp_path / "busybox").write_bytes(Path(need_tool("busybox", "busybox-static")).read_bytes())
        return {"source": {"busybox_url": "busybox"}}


class TestInitramfsWithAnImage(TestInitramfs):
    has_image = True

    @pytest.fixture
    def tables(self) -> dict[str, Any]:
        return {"source": {"image": "oci:image:latest"}, "initramfs": {"busybox": False}}


class TestInitramfsWithoutAnything(StrategyConformance):
    name = "initramfs"
    filesystem = "cpio"
    has_agent = False
    starts = False  # Process 1 comes by a mapping.
    options: ClassVar = {
        "init": {"none": True},
        "source": {"image": "oci:image:latest"},
        "initramfs": {"busybox": False},
    }
