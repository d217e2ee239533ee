"""What a step prints, line by line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from fledge.progress import LINE_MAX, printable

_TAIL: Final = 10
"""How many lines are told when something went wrong."""
_LONGEST: Final = 4 * LINE_MAX
"""Bytes of a line that are kept: a character of UTF-8 has at most 4."""


class Lines:
    """Takes a step's output in pieces, and tells each line as soon as it ends."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def add(self, data: bytes) -> None:
        """The next piece."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        self._rest = rest[-_LONGEST:]

    def end(self) -> Sequence[str]:
        """Tells a last line that has no end, and gives the last lines."""
        self._take(self._rest)
        self._rest = b""
        return list(self._tail)

    def _take(self, raw: bytes) -> None:
        # What draws over its own line, as progress bars do, is told as it looked in the end.
        line = printable(raw.rstrip(b"\r").rpartition(b"\r")[2])
        if line:
            self._tail.append(line)
            self._tell(line)
