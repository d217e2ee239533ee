"""What every agent source must do, with a file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from fledge.testing.conformance.agent import AgentConformance, Offer


class TestLocal(AgentConformance):
    name = "local"
    options: ClassVar = {"path": "kestrel"}

    @pytest.fixture
    def offer(self, tmp_path: Path) -> Offer:
        def offer(binary: bytes | None) -> dict[str, str]:
            if binary is not None:
                (tmp_path / "kestrel").write_bytes(binary)
            return {"path": "kestrel"}

        return offer
