"""What every agent source must do, with a web server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from fledge.testing.conformance.agent import AgentConformance, Offer
from fledge.testing.http import Answer, serving


class TestHttp(AgentConformance):
    name = "http"
    options: ClassVar = {"url": "https://example.com/kestrel"}
    checksum_option = "checksum"

    @pytest.fixture
    def offer(self) -> Iterator[Offer]:
        with serving(lambda asked: Answer(404)) as server:

            def offer(binary: bytes | None) -> dict[str, str]:
                server.behaviour = lambda asked: Answer(404) if binary is None else Answer(body=binary)
                return {"url": f"{server.url}/kestrel"}

            yield offer
