"""Contents on a disk of blocks: which blocks of a file hold data, where they go, and what to copy there.

For filesystem writers that leave holes unallocated and place data around what is fixed (superblocks, tables, a log).
A block has `1 << bits` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fledge.output import Copy
from fledge.tree.content import Content

Run = tuple[int, int]
"""First block, and how many."""

Extent = tuple[int, int, int]
"""First logical block (of the file), first block of the image, how many."""


def data_runs(content: Content, bits: int) -> list[Run]:
    """The logical blocks that hold data. A block of which a hole covers a part holds zeros there."""
    runs: list[Run] = []
    for piece in content.pieces:
        if not piece.length:
            continue
        first, end = piece.offset >> bits, -(-(piece.offset + piece.length) >> bits)
        if runs and first <= sum(runs[-1]):
            first = runs.pop()[0]
        runs.append((first, end - first))
    return runs


def extents_of(logical: int, runs: Sequence[Run], longest: int) -> Iterator[Extent]:
    """Maps the logical blocks from `logical` on to `runs` of the image. `longest`: blocks that one extent can have."""
    for start, count in runs:
        for done in range(0, count, longest):
            yield logical + done, start + done, min(longest, count - done)
        logical += count


def copies(content: Content, extents: Sequence[Extent], bits: int) -> Iterator[Copy]:
    """What to copy so that the extents hold the content. `extents`: of all its data, by rising logical block."""
    at = 0
    for piece in content.pieces:
        done = 0
        while done < piece.length:
            offset = piece.offset + done
            while (extents[at][0] + extents[at][2]) << bits <= offset:
                at += 1
            logical, start, count = extents[at]
            step = min(piece.length - done, ((logical + count) << bits) - offset)
            yield offset + ((start - logical) << bits), piece.source, piece.start + done, step
            done += step


class Allocator:
    """Hands out the image's blocks from `start` on, in rising order.

    `fixed` are runs by rising block that are never handed out.
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
        """`count` blocks (at least one), in as many runs as the fixed ones make of them."""
        start = self.cursor
        if start + count <= self._limit:
            self.cursor = start + count
            return [(start, count)]
        runs = []
        while count:
            self.upcoming()
            step = min(count, self._limit - self.cursor)
            runs.append((self.cursor, step))
            self.cursor += step
            count -= step
        return runs

    def take_whole(self, count: int) -> int:
        """`count` blocks in one run; what is left before a fixed run that is in the way stays free."""
        while self.cursor + count > self._limit:
            self._close()
            self._go_on(self._limit)
        start = self.cursor
        self.cursor += count
        return start

    def upcoming(self) -> int:
        """The block that the next `take` begins with."""
        if self.cursor == self._limit:
            self._close()
            self._go_on(self.cursor)
        return self.cursor

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
        """Goes on at `cursor`, or behind the fixed runs that stand there."""
        fixed = self._fixed
        while self._next < len(fixed) and fixed[self._next][0] <= cursor:
            cursor = max(cursor, sum(fixed[self._next]))
            self._next += 1
        self.cursor = self._span = cursor
        self._limit = fixed[self._next][0] if self._next < len(fixed) else 1 << 64
