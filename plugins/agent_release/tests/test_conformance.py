"""What every agent source must do, with an API like GitHub's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fledge.context import BuildContext
from fledge.testing.conformance.agent import AgentConformance, Offer
from fledge.testing.http import Answer, Asked, serving


class TestRelease(AgentConformance):
    name = "release"
    checksum_option = "checksum"

    @pytest.fixture
    def offer(self, fledge_context: BuildContext) -> Iterator[Offer]:
        with serving(lambda asked: Answer(404)) as server:
            fledge_context.environ["FLEDGE_GITHUB_API"] = server.url  # type: ignore[index]

            def offer(binary: bytes | None) -> dict[str, str]:
                def answer(asked: Asked) -> Answer:
                    if asked.path.endswith("/assets/1"):
                        return Answer(body=binary or b"")
                    assets = [] if binary is None else [{"id": 1, "name": "kestrel", "url": "https://example.com"}]
                    return Answer(body=json.dumps({"tag_name": "v1", "assets": assets}).encode())

                server.behaviour = answer
                return {"version": "v1"}

            yield offer
