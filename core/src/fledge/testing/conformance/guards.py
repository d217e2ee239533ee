"""Bounds for what is tried: time, memory, the size of files; and what is left behind."""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

_PATIENCE: Final = 5.0
"""Seconds until a thread that was told to end has done so, on a machine that is busy."""


class TookTooLongError(Exception):
    """The block did not end in time. No FledgeError: it is never what a user should see."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Ends the block with TookTooLongError. In the main thread only, and not inside of C code."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TookTooLongError(f"not done after {seconds} s")

    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # Another's, such as pytest-timeout's.
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.001), interval)


@contextmanager
def at_most_memory(more: int) -> Iterator[None]:
    """MemoryError for whoever asks for `more` bytes of addresses beyond those in use."""
    with _limited(resource.RLIMIT_AS, _addresses() + more):
        yield


@contextmanager
def at_most_file_size(size: int) -> Iterator[None]:
    """Files can't grow beyond `size` bytes: write(2) fails with EFBIG, as it fails with ENOSPC where a disk is full."""
    with _limited(resource.RLIMIT_FSIZE, size):  # Python ignores the signal that goes with it, SIGXFSZ.
        yield


@contextmanager
def _limited(what: int, limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def left_threads(before: set[threading.Thread]) -> list[str]:
    """The names of threads that were not there `before` and do not end."""
    deadline = time.monotonic() + _PATIENCE
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(thread.name for thread in left)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: a file's bytes, None for what is no file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
