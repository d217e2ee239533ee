"""Files of hundreds of MiB and more that take no memory, and what must be seen of them where they are mounted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fledge.testing.trees import data
from fledge.tree.content import Content, MemorySource, Piece

_MIB: Final = 1 << 20
_MARK: Final = MemorySource(data(_MIB))


class Zeros:
    """A source of zeros, read at most 8 MiB at a time."""

    size: Final = 1 << 40
    _view = memoryview(bytes(8 << 20))

    def view(self, start: int, length: int) -> memoryview:
        """As every source's."""
        return self._view[:length]

    def release(self, start: int, length: int) -> None:
        """Nothing is held."""


def marked(size: int, marks: Sequence[int]) -> Content:
    """`size` bytes of zeros without a hole, and 1 MiB of something else at each of `marks`, the last one at the end."""
    pieces, at = [], 0
    for offset in marks:
        if offset > at:
            pieces.append(Piece(at, Zeros(), at, offset - at))
        pieces.append(Piece(offset, _MARK, 0, _MIB))
        at = offset + _MIB
    assert at == size
    return Content(size, pieces)


def assert_marked(path: Path, size: int, marks: Sequence[int]) -> None:
    """That the mounted file is `marked`, and has blocks for all of it."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        assert status.st_size == size
        assert status.st_blocks >= size // 512
        for offset in marks:
            before = max(offset - 200, 0)
            assert os.pread(file.fileno(), _MIB, offset) == _MARK.view(0, _MIB), f"the mark at {offset}"
            assert os.pread(file.fileno(), offset - before, before) == bytes(offset - before), f"before {offset}"


def scattered(size: int, count: int) -> list[tuple[int, bytes]]:
    """`count` pieces of 1 to 9000 bytes at rising offsets of a file of `size` bytes, for `trees.sparse`."""
    step = size // (count + 1)
    return [(i * step + i, data(1 + i * 40 % 9000, i)) for i in range(count)]


def assert_sparse(path: Path, size: int, pieces: Sequence[tuple[int, bytes]], most: int) -> None:
    """That the mounted file has these pieces, zeros next to them, and blocks for no more than `most` bytes."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        assert status.st_size == size
        assert status.st_blocks * 512 <= most
        for offset, part in pieces:
            before = min(offset, 1)
            seen = os.pread(file.fileno(), before + len(part) + 1, offset - before)
            behind = b"\0" if offset + len(part) < size else b""
            assert seen == bytes(before) + part + behind, f"the piece at {offset}"
