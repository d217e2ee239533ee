"""The live display on a terminal. The only module that knows rich."""

from __future__ import annotations

import sys
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from fledge.progress import Level, Stage

_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red"}


class _Done(DownloadColumn):
    """Bytes as rich shows them, other units as plain counts."""

    def render(self, task: Task) -> Text:
        stage: Stage = task.fields["stage"]
        if not stage.done and stage.total is None:
            return Text("")
        if stage.unit == "bytes":
            return super().render(task)
        return Text(f"{stage.done}/{stage.total}" if stage.total else f"{stage.done} {stage.unit}")


class _Rate(TransferSpeedColumn):
    """Nothing but bytes has a rate worth showing."""

    def render(self, task: Task) -> Text:
        stage: Stage = task.fields["stage"]
        return super().render(task) if stage.unit == "bytes" and stage.done else Text("")


class _Polling(Progress):
    """Reads the stages' counters when it draws, so that the threads that count never wait for the display."""

    def get_renderables(self):  # type: ignore[no-untyped-def]
        for task in self.tasks:
            stage: Stage = task.fields["stage"]
            self.update(task.id, completed=stage.done, total=stage.total)
        yield from super().get_renderables()


class LiveDisplay:
    """One line a stage under way; finished stages scroll up as plain lines."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._progress = _Polling(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Done(binary_units=True),
            _Rate(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )
        self._lock = Lock()
        self._tasks: dict[int, TaskID] = {}
        self._progress.start()

    def started(self, stage: Stage) -> None:
        """A new line in the display."""
        task = self._progress.add_task(escape(stage.name), total=stage.total, stage=stage)
        with self._lock:
            self._tasks[id(stage)] = task

    def ended(self, stage: Stage, failed: bool) -> None:
        """The line leaves the display; a done stage is told above it."""
        from fledge.cli.terminal import amount

        with self._lock:
            task = self._tasks.pop(id(stage))
        seconds = next(t.elapsed or 0.0 for t in self._progress.tasks if t.id == task)
        self._progress.remove_task(task)
        if not failed:
            self._console.print(f"[green]\u2713[/] {escape(stage.name)}  [dim]{amount(stage)}{seconds:.1f} s[/]")

    def message(self, level: Level, text: str) -> None:
        """A line above the display."""
        if level != "debug":
            label = f"{level}: " if level in ("warning", "error") else ""
            self._console.print(f"{label}{text}", style=_STYLES[level] or None, markup=False)

    def close(self) -> None:
        """Gives the cursor back."""
        self._progress.stop()
