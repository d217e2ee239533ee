"""Events of a build, and who shows them: a live display, plain lines, or JSON.

Code that does the work only knows `Progress`; the command line picks the renderer.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, Protocol

Level = Literal["debug", "info", "warning", "error"]

LINE_MAX: Final = 1000
"""Characters of a line that is told."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")


def printable(raw: bytes) -> str:
    """A line that a guest or a program wrote, which may hold escapes that whoever reads the log must not execute."""
    text = _ESCAPES.sub("", raw.decode("utf-8", "backslashreplace"))
    return "".join(c if c.isprintable() else " " for c in text).rstrip()[:LINE_MAX]


class Stage:
    """One piece of work under way, such as the fetch of a layer or the writing of an artifact.

    `total` and `done` count `unit`s (bytes unless said otherwise); `total` is None while it is not known.
    `advance` may be called from any thread.
    """

    __slots__ = ("_lock", "done", "name", "total", "unit")

    def __init__(self, name: str, total: int | None = None, unit: str = "bytes") -> None:
        self.name = name
        self.total = total
        self.unit = unit
        self.done = 0
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        """`count` more units are done."""
        with self._lock:
            self.done += count


class Renderer(Protocol):
    """Shows events to a person or a machine. Called from several threads."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def ended(self, stage: Stage, failed: bool) -> None:
        """A stage ends."""

    def message(self, level: Level, text: str) -> None:
        """One line of log."""

    def close(self) -> None:
        """The last call: put the terminal back."""


class Progress:
    """The door to the renderer."""

    def __init__(self, renderer: Renderer | None = None) -> None:
        self._renderer = renderer

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "bytes") -> Iterator[Stage]:
        """Shows a stage while the body runs."""
        stage = Stage(name, total, unit)
        failed = True
        if self._renderer is not None:
            self._renderer.started(stage)
        try:
            yield stage
            failed = False
        finally:
            if self._renderer is not None:
                self._renderer.ended(stage, failed)

    def debug(self, text: str) -> None:
        """For --verbose."""
        self._message("debug", text)

    def info(self, text: str) -> None:
        """What a user wants to know: which transport served the image, what was reused."""
        self._message("info", text)

    def warning(self, text: str) -> None:
        """Something that the user should change, but the build goes on."""
        self._message("warning", text)

    def _message(self, level: Level, text: str) -> None:
        if self._renderer is not None:
            self._renderer.message(level, text)
