"""That what looks at large files of mounted images sees what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fledge.testing.large_files import assert_marked, assert_sparse, marked, scattered
from fledge.testing.trees import sparse
from fledge.tree.content import Content

MIB = 1 << 20
MARKS = (0, 3 * MIB + 5, 5 * MIB)
SIZE = 6 * MIB
PIECES = [*scattered(100 * MIB, 20), (100 * MIB - 2, b"zz")]


def written(path: Path, content: Content) -> Path:
    with open(path, "wb") as file:
        for piece in content.pieces:
            for done in range(0, piece.length, MIB):
                step = min(MIB, piece.length - done)
                os.pwrite(file.fileno(), piece.source.view(piece.start + done, step), piece.offset + done)
        file.truncate(content.size)
    return path


def changed(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes((byte ^ 1,)), offset)


@pytest.mark.parametrize("offset", [None, 0, 3 * MIB + 4, 3 * MIB + 5, 4 * MIB + 4, 5 * MIB - 200, SIZE - 1])
def test_a_changed_byte_at_a_mark_is_seen(tmp_path: Path, offset: int | None) -> None:
    content = marked(SIZE, MARKS)
    assert not content.is_sparse
    path = written(tmp_path / "f", content)
    assert_marked(path, SIZE, MARKS)
    if offset is not None:
        changed(path, offset)
        with pytest.raises(AssertionError):
            assert_marked(path, SIZE, MARKS)


def test_a_hole_in_a_file_without_holes_is_seen(tmp_path: Path) -> None:
    content = marked(SIZE, MARKS)
    path = written(tmp_path / "f", Content(SIZE, content.pieces[::2]))
    with pytest.raises(AssertionError):
        assert_marked(path, SIZE, MARKS)


@pytest.mark.parametrize("number", [0, 7, 20])
@pytest.mark.parametrize("where", ["before", "first", "last", "behind"])
def test_a_changed_byte_at_a_piece_is_seen(tmp_path: Path, number: int, where: str) -> None:
    path = written(tmp_path / "f", sparse(100 * MIB, *PIECES))
    assert_sparse(path, 100 * MIB, PIECES, MIB)
    offset, part = PIECES[number]
    at = {"before": offset - 1, "first": offset, "last": offset + len(part) - 1, "behind": offset + len(part)}[where]
    if 0 <= at < 100 * MIB:
        changed(path, at)
        with pytest.raises(AssertionError):
            assert_sparse(path, 100 * MIB, PIECES, MIB)


def test_blocks_for_holes_are_seen(tmp_path: Path) -> None:
    path = written(tmp_path / "f", sparse(100 * MIB, *PIECES))
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 50 * MIB, 2 * MIB)
    with pytest.raises(AssertionError):
        assert_sparse(path, 100 * MIB, PIECES, MIB)
