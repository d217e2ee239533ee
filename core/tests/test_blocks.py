"""Which blocks a content takes, where they go around what is fixed, and what is copied there."""

from __future__ import annotations

import pytest
from fledge.blocks import Allocator, Run, copies, data_runs, extents_of
from fledge.testing.trees import data, sparse
from fledge.tree.content import EMPTY, Content
from hypothesis import given
from hypothesis import strategies as st

FIXED = ((0, 10), (100, 5), (200, 50))


@pytest.mark.parametrize(
    ("start", "count", "runs"),
    [
        (0, 5, [(10, 5)]),
        (10, 90, [(10, 90)]),
        (10, 91, [(10, 90), (105, 1)]),
        (100, 1, [(105, 1)]),
        (103, 1, [(105, 1)]),
        (90, 200, [(90, 10), (105, 95), (250, 95)]),
        (1000, 7, [(1000, 7)]),
    ],
)
def test_the_allocator_goes_around_what_is_fixed(start: int, count: int, runs: list[Run]) -> None:
    allocator = Allocator(start, FIXED)
    assert allocator.take(count) == runs
    assert allocator.used() == runs


def test_the_allocator_leaves_a_gap_that_is_too_small_for_a_whole_run() -> None:
    allocator = Allocator(0, FIXED)
    assert allocator.take_whole(80) == 10
    assert allocator.take_whole(30) == 105
    assert allocator.take_whole(66) == 250
    assert allocator.used() == [(10, 80), (105, 30), (250, 66)]


@given(st.lists(st.integers(1, 60), max_size=12))
def test_what_is_ahead_begins_where_the_blocks_before_it_end(counts: list[int]) -> None:
    allocator = Allocator(0, FIXED)
    behind = allocator.ahead(sum(counts))
    taken = [
        block for count in counts for start, length in allocator.take(count) for block in range(start, start + length)
    ]
    assert len(set(taken)) == sum(counts)
    assert all(block < behind.upcoming() for block in taken)
    assert not any(low <= block < low + length for block in taken for low, length in FIXED)


@pytest.mark.parametrize(
    ("content", "runs"),
    [
        (EMPTY, []),
        (Content.of(b"x"), [(0, 1)]),
        (Content.of(bytes(8192)), [(0, 2)]),
        (sparse(1 << 20), []),
        (sparse(1 << 20, (4095, b"ab")), [(0, 2)]),
        (sparse(1 << 20, (4096, b"a"), (8191, b"b")), [(1, 1)]),
        (sparse(1 << 20, (0, b"a"), (4096, b"b"), (12288, b"c")), [(0, 2), (3, 1)]),
        (sparse(1 << 20, (5000, b""), (8192, b"x")), [(2, 1)]),
    ],
)
def test_runs_of_data(content: Content, runs: list[Run]) -> None:
    assert data_runs(content, 12) == runs


def test_an_extent_has_as_many_blocks_as_it_can() -> None:
    assert list(extents_of(5, [(100, 21), (1 << 30, 3)], 10)) == [
        (5, 100, 10),
        (15, 110, 10),
        (25, 120, 1),
        (26, 1 << 30, 3),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90)), max_size=8),
    st.integers(0, 120),
    st.integers(1, 9),
    st.integers(2, 5),
)
def test_what_is_copied_to_the_extents_is_the_content(
    gaps: list[tuple[int, int]], start: int, longest: int, bits: int
) -> None:
    pieces, at = [], 0
    for gap, size in gaps:
        pieces.append((at + gap, data(size, gap)))
        at += gap + size
    content = sparse(at + 3, *pieces)
    allocator = Allocator(start, FIXED)
    placed = [
        extent
        for logical, count in data_runs(content, bits)
        for extent in extents_of(logical, allocator.take(count), longest)
    ]
    image = bytearray(1 << 16)
    before = 0
    for offset, source, begin, length in copies(content, placed, bits):
        assert offset >= before
        before = offset + length
        image[offset:before] = source.view(begin, length)
    seen = bytearray(-(-content.size >> bits) << bits)
    for logical, block, count in placed:
        assert count <= longest
        seen[logical << bits : (logical + count) << bits] = image[block << bits : (block + count) << bits]
    assert bytes(seen[: content.size]) == content.read()
    assert not any(seen[content.size :])
