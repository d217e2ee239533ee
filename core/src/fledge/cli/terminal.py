"""What the user sees: results on stdout, everything else on stderr, and what happens on Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TextIO

from fledge.errors import EXIT_INTERRUPTED, BuildError, UsageError
from fledge.progress import Level, Progress, Renderer, Stage

_SHOW_CURSOR: Final = "\x1b[?25h"
_RANK: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3}


class Terminal:
    """Created before the command line is read; `configure` settles how to show things."""

    def __init__(self) -> None:
        self._level: Level = "info"
        self._json = False
        self._renderer: Renderer | None = None
        self._live = False
        self.on_interrupt: Callable[[], Sequence[str]] = tuple
        """Called when the user interrupts; gives what a guest said last."""

    def configure(self, *, verbose: bool = False, quiet: bool = False, log_format: str | None = None) -> None:
        """The global options. Raises UsageError when two exclude each other."""
        if (verbose and self._level == "warning") or (quiet and self._level == "debug"):
            raise UsageError("--verbose and --quiet exclude each other")
        if verbose or quiet:
            self._level = "debug" if verbose else "warning"
        if log_format is not None:
            self._json = log_format == "json"

    def progress(self, *, live: bool = True) -> Progress:
        """The display of a build: live on a terminal (unless something else writes there), else plain lines or JSON."""
        if self._json:
            self._renderer = JsonLines(self._level)
        elif (
            live
            and self._level == "info"
            and sys.stderr.isatty()
            and os.environ.get("TERM") != "dumb"
            and "CI" not in os.environ
        ):
            from fledge.cli.live import LiveDisplay

            self._live = True
            self._renderer = LiveDisplay()
        else:
            self._renderer = PlainLines(self._level)
        return Progress(self._renderer)

    def error(self, message: str, hint: str | None = None, transcript: Sequence[str] = ()) -> None:
        """The transcript, one line on stderr, and the hint."""
        self.close()
        _write(self._error_text(message, hint, transcript))

    def _error_text(self, message: str, hint: str | None = None, transcript: Sequence[str] = ()) -> str:
        if self._json:
            more = {"hint": hint, "transcript": list(transcript)}
            return _json({"level": "error", "message": message, **{key: value for key, value in more.items() if value}})
        lines = [f"  | {line}" for line in transcript] + [f"fledge: error: {message}"]
        return "\n".join([*lines, f"  hint: {hint}"] if hint else lines)

    def close(self) -> None:
        """Ends the display; what comes after is written below it."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def catch_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP remove what is half written and end the process at once.

        The handler does not unwind the stack: worker threads may be inside a long compression or a read from the
        network, and waiting for them is what a user who presses Ctrl-C does not want. The store and the output are
        safe against a kill at any point, so there is nothing else to put right.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._interrupted)

    def _interrupted(self, number: int, _: object) -> None:
        from fledge.atomic import discard_open
        from fledge.tools import kill_running

        kill_running()
        discard_open()
        # The signal may have come amid a write to stderr, and Python's streams refuse to be entered again; or amid the
        # start of the display, when it has hidden the cursor and can't be closed yet.
        with suppress(RuntimeError, OSError):
            self.close()
        text = self._error_text(f"interrupted by {signal.Signals(number).name}", transcript=self.on_interrupt())
        with suppress(OSError):
            os.write(2, f"{_SHOW_CURSOR if self._live else ''}{text}\n".encode("utf-8", "backslashreplace"))
        os._exit(EXIT_INTERRUPTED)


class PlainLines:
    """A line an event, for pipes and CI."""

    def __init__(self, level: Level) -> None:
        self._least = _RANK[level]
        self._begun: dict[int, float] = {}

    def started(self, stage: Stage) -> None:
        """Remembers the time."""
        self._begun[id(stage)] = time.monotonic()

    def ended(self, stage: Stage, failed: bool) -> None:
        """One line when it is done."""
        seconds = time.monotonic() - self._begun.pop(id(stage))
        if not failed and self._least <= _RANK["info"]:
            self._write(f"{stage.name}: {amount(stage)}{seconds:.1f} s")

    def message(self, level: Level, text: str) -> None:
        """One line."""
        if _RANK[level] >= self._least:
            self._write(f"{level}: {text}" if level in ("warning", "error") else text)

    def close(self) -> None:
        """Nothing to put back."""

    def _write(self, text: str) -> None:
        _write(f"fledge: {text}")


class JsonLines:
    """One JSON object a line, for machines (--log-format json)."""

    def __init__(self, level: Level) -> None:
        self._least = _RANK[level]

    def started(self, stage: Stage) -> None:
        """An event of its own."""
        if self._least <= _RANK["info"]:
            _write_json(
                {"level": "info", "event": "started", "stage": stage.name, "total": stage.total, "unit": stage.unit}
            )

    def ended(self, stage: Stage, failed: bool) -> None:
        """An event of its own."""
        if self._least <= _RANK["info"]:
            event = "failed" if failed else "ended"
            _write_json({"level": "info", "event": event, "stage": stage.name, "done": stage.done, "unit": stage.unit})

    def message(self, level: Level, text: str) -> None:
        """An event of its own."""
        if _RANK[level] >= self._least:
            _write_json({"level": level, "message": text})

    def close(self) -> None:
        """Nothing to put back."""


class _Results(io.FileIO):
    """Where results are written: a full disk under it is an error that is told in one line."""

    def write(self, data: Any, /) -> int:
        """As FileIO's. Raises BuildError, or BrokenPipeError when the reader went away; what is still held is lost."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            discard(self)
            raise BuildError(f"can't write to stdout: {error.strerror}") from error


def results(stream: TextIO | None) -> TextIO:
    """A stream that writes where `stream` writes, and tells what fails as an error of ours. None: nowhere (`>&-`).

    A path is written as the bytes that it is, UTF-8 or not.
    """
    if stream is None:
        return open(os.devnull, "w")
    raw = _Results(stream.fileno(), "wb", closefd=False)
    errors = "surrogateescape" if stream.errors == "strict" else stream.errors
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, errors, line_buffering=stream.isatty())


def amount(stage: Stage) -> str:
    """How much was done, for people; empty when nothing was counted."""
    if not stage.done:
        return ""
    if stage.unit == "bytes":
        return f"{human(stage.done)}, "
    return f"{stage.done} {stage.unit}, "


def human(count: float) -> str:
    """A number of bytes with a unit: `150.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def _write(line: str) -> None:
    """One call a line: threads write, and half lines of two would mix."""
    try:
        sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
        sys.stderr.flush()
    except OSError:
        # Whoever read the log went away (`2>&1 | head`), or its disk is full: no reason to end the build.
        discard(sys.stderr)


def discard(stream: TextIO | io.FileIO) -> None:
    """Lets all that is written to a stream, and what it still holds, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _write_json(event: dict[str, Any]) -> None:
    _write(_json(event))


def _json(event: dict[str, Any]) -> str:
    return json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False)
