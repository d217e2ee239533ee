"""The guest's console: the lines, and what those of the kernel and of the guest init mean."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Final

from fledge_guest import INIT_PATH, INITRAMFS_INIT_PATH, parse_event

from fledge.progress import LINE_MAX, printable

TAIL: Final = 20
"""How many lines are told when something went wrong."""

_PANIC: Final = "Kernel panic - not syncing: "
_UNPACKING: Final = "Initramfs unpacking failed: "
"""init/initramfs.c, do_populate_rootfs."""
_TIME: Final = re.compile(r"\[ *[0-9.]+\](?:\[ *[TC][0-9]+\])? ?")
_MESSAGE: Final = re.compile(r"\[ *[0-9]+\.[0-9]{6}\]")
"""How the kernel's lines begin (printk.time, which is on by default in all distributions)."""


@dataclass(frozen=True, slots=True)
class Started:
    """The workload, the agent or the image's own init runs."""

    what: str = "the workload"
    """For people: the workload, or the path of an agent or an init."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The workload ended by itself: an exit status (0 to 255), or the signal that killed it."""

    status: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        return f"exited with {self.status}" if self.status is not None else f"was killed by signal {self.signal}"


@dataclass(frozen=True, slots=True)
class Complained:
    """The guest init can't go on, and says why."""

    text: str


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The kernel gave up unpacking the initramfs, and goes on with what there is of it."""

    text: str


@dataclass(frozen=True, slots=True)
class Panicked:
    """The kernel can't go on."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The VMM ended."""


Event = Started | Exited | Complained | Unpacked | Panicked | Closed


class Console:
    """Reads the console and the VMM's stderr in threads; keeps the last lines, and queues what happens."""

    silent = False
    """No guest init tells when the workload starts: the kernel's word counts."""

    def __init__(self, echo: Callable[[bytes], None] | None = None) -> None:
        """`echo`: gets every byte of the console."""
        self._lines: deque[str] = deque(maxlen=TAIL)
        self._errors: deque[str] = deque(maxlen=TAIL)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._echo = echo
        self._panicked = False
        self._broken = ""
        self._threads: list[threading.Thread] = []

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Begins to read the VMM's stdout, which is the console, and its stderr."""
        self._threads = [
            threading.Thread(target=self._read_errors, args=(process.stderr,), daemon=True, name="fledge-vmm"),
            threading.Thread(target=self._read, args=(process.stdout,), daemon=True, name="fledge-console"),
        ]
        for thread in self._threads:
            thread.start()

    def next(self, timeout: float) -> Event | None:
        """The next event; None when there is none within `timeout` seconds."""
        try:
            return self._events.get(timeout=max(timeout, 0))
        except queue.Empty:
            return None

    def tail(self) -> Sequence[str]:
        """The last lines of the console, without control characters."""
        return list(self._lines)

    def errors(self) -> Sequence[str]:
        """The last lines that the VMM itself wrote; call it when the VMM has ended."""
        self._threads[0].join(1)
        return list(self._errors)

    def _read(self, stream: IO[bytes]) -> None:
        rest = b""
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                if self._echo is not None:
                    self._echo(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(line)
                rest = rest[-LINE_MAX:]
        self._take(rest)
        self._events.put(Closed())

    def _read_errors(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._errors.append(printable(line))

    def _take(self, raw: bytes) -> None:
        line = printable(raw)
        # What led to a panic is worth more than its stack trace, which would push it out.
        if line and not self._panicked:
            self._lines.append(line)
        event = self._event(line)
        self._panicked = self._panicked or isinstance(event, Panicked)
        if event is not None:
            self._events.put(event)

    def _event(self, line: str) -> Event | None:
        """What the line means, or what the kernel broke in two: it writes its lines between any two characters of others'."""
        message = _MESSAGE.search(line)
        if message is not None:
            self._broken = (self._broken + line[: message.start()])[-LINE_MAX:]
            return event_of(line[message.start() :], silent=self.silent)
        whole, self._broken = self._broken + line, ""
        return event_of(line, silent=self.silent) or event_of(whole, silent=self.silent)


def event_of(line: str, *, silent: bool) -> Event | None:
    """What a line means: of the guest init (fledge_guest.parse_event), and of the kernel."""
    text = _TIME.sub("", line, count=1)
    if text.startswith(_PANIC):
        return Panicked(text.removeprefix(_PANIC))
    if text.startswith(_UNPACKING):
        return Unpacked(text.removeprefix(_UNPACKING))
    if silent:
        return Started(INITRAMFS_INIT_PATH) if text.startswith("Run /init as init process") else None
    said = parse_event(line)
    if said is None:
        return None
    match said.kind:
        case "started":
            return Started()
        case "handed over" if (
            said.text != INIT_PATH
        ):  # That is the boot initramfs, whose disk is yet to start anything.
            return Started(said.text)
        case "error":
            return Complained(said.text)
        case "exited":
            return Exited(status=said.number)
        case "killed":
            return Exited(signal=said.number)
    return None
