"""Blocks are handed out in rising order, around the places that are fixed."""

from __future__ import annotations

from collections.abc import Sequence

Run = tuple[int, int]
"""First block, and how many. Blocks are counted from the start of the image, through all allocation groups."""


class Allocator:
    """Hands out the blocks from `start` on. `fixed` are runs by rising block that are never handed out.

    Each allocation group begins with a fixed run, so no run that is handed out crosses the border of two groups.
    """

    cursor: int
    """The block from which on it hands out."""
    _span: int
    _limit: int

    def __init__(self, start: int, fixed: Sequence[Run]) -> None:
        self._spans: list[Run] = []
        self._fixed = fixed
        self._next = 0
        self._go_on(start)

    def take(self, count: int) -> list[Run]:
        """`count` blocks (at least one), in as many runs as the fixed places make of them."""
        start = self.cursor
        if start + count <= self._limit:
            self.cursor = start + count
            return [(start, count)]
        runs = []
        while count:
            if self.cursor == self._limit:
                self._close()
                self._go_on(self.cursor)
            step = min(count, self._limit - self.cursor)
            runs.append((self.cursor, step))
            self.cursor += step
            count -= step
        return runs

    def ahead(self, count: int) -> Allocator:
        """An allocator for what comes after the next `count` blocks, which stay this one's."""
        probe = Allocator(self.cursor, self._fixed)
        if count:
            probe.take(count)
        return Allocator(probe.cursor, self._fixed)

    def used(self) -> list[Run]:
        """Every run that was handed out."""
        self._close()
        return self._spans

    def _close(self) -> None:
        """Notes the blocks up to the cursor as handed out."""
        if self.cursor > self._span:
            self._spans.append((self._span, self.cursor - self._span))
        self._span = self.cursor

    def _go_on(self, cursor: int) -> None:
        """Goes on at `cursor`, or behind the fixed places that stand there."""
        fixed = self._fixed
        while self._next < len(fixed) and fixed[self._next][0] <= cursor:
            cursor = max(cursor, sum(fixed[self._next]))
            self._next += 1
        self.cursor = self._span = cursor
        self._limit = fixed[self._next][0] if self._next < len(fixed) else 1 << 64
