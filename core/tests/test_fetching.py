"""What is fetched side by side, and what comes of a failure."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.fetching import Fetcher
from fledge.sources import AgentRequest
from fledge.testing.builds import Log, context
from fledge.values import Platform


def test_a_failure_is_told_while_the_others_are_waited_for(tmp_path: Path) -> None:
    told, ended = threading.Event(), threading.Event()

    class Watched(Log):
        def message(self, level: Any, text: str) -> None:
            super().message(level, text)
            told.set()

    def fetch_source(plan: object, request: AgentRequest) -> None:
        if request.driver == "broken":
            raise BuildError("the agent is not there")
        assert told.wait(10)
        ended.set()

    log = Watched()
    plugins: Any = SimpleNamespace(
        hook=SimpleNamespace(fetch_source=fetch_source), filesystem=SimpleNamespace(import_ahead=lambda: None)
    )
    platform = Platform.parse("linux/amd64")
    requests = [AgentRequest(driver, platform) for driver in ("broken", "slow")]
    with pytest.raises(BuildError, match="the agent is not there"):
        Fetcher(plugins, None, context(tmp_path, log)).fetch_all(requests)  # type: ignore[arg-type]
    assert ended.is_set()
    assert log.texts("warning") == ["the agent is not there; what else is fetched is still waited for"]
