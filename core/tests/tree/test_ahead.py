"""The pipeline stage: order, errors, and that nothing runs on."""

import threading
from collections.abc import Iterator

import pytest
from fledge.tree.ahead import Ahead


def test_items_come_in_order() -> None:
    with Ahead(range(1000), depth=3) as items:
        assert list(items) == list(range(1000))
        assert list(items) == []


def test_runs_in_a_thread_of_its_own() -> None:
    with Ahead(threading.get_ident() for _ in range(2)) as items:
        assert threading.get_ident() not in set(items)


def test_errors_reach_the_reader_after_the_items() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    with Ahead(broken()) as items:
        assert next(items) == 1
        for _ in range(2):
            with pytest.raises(KeyError):
                next(items)


@pytest.mark.parametrize("depth", [1, 4])
def test_leaving_stops_the_thread(depth: int) -> None:
    made = []

    def endless() -> Iterator[int]:
        while True:
            made.append(0)
            yield 0

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Ahead(endless(), depth) as items:
        next(items)
        raise ZeroDivisionError
    assert threading.active_count() == before
    assert len(made) <= 2 * depth + 4


def test_two_in_a_row_stop_together() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Ahead(iter(int, 1)) as first, Ahead(first) as second:
        next(second)
        raise ZeroDivisionError
    assert threading.active_count() == before
