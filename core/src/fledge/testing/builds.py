"""What a driver needs around it when a test calls it alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fledge.context import BuildContext
from fledge.progress import Level, Progress, Stage
from fledge.store import Store


class Log:
    """A renderer that remembers the messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[Level, str]] = []

    def started(self, stage: Stage) -> None:
        """Not remembered."""

    def ended(self, stage: Stage, failed: bool) -> None:
        """Not remembered."""

    def message(self, level: Level, text: str) -> None:
        """Remembered."""
        self.messages.append((level, text))

    def close(self) -> None:
        """Nothing to put back."""

    def texts(self, level: Level) -> list[str]:
        """The messages of one level."""
        return [text for one, text in self.messages if one == level]


def context(
    folder: Path, log: Log | None = None, environ: Mapping[str, str] | None = None, jobs: int = 2
) -> BuildContext:
    """A build's context with an own store in `folder` and nothing from the environment."""
    return BuildContext(Store(folder), Progress(log), environ or {}, jobs)
