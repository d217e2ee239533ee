from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fledge.workers import ordered


def test_results_come_in_the_order_of_the_items_whichever_is_first_done() -> None:
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(10)
        second.set()
        return number * 10

    with ThreadPoolExecutor(2) as pool:
        assert list(ordered(pool, work, range(5), 4)) == [(n, n * 10) for n in range(5)]


def test_no_more_than_the_window_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = ordered(pool, lambda number: number, items(), 3)
        next(results)
        assert len(taken) == 4
        results.close()


def test_what_fails_is_raised_in_its_turn() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = ordered(pool, lambda number: 1 // number, [1, 0], 2)
        assert next(results) == (1, 1)
        with pytest.raises(ZeroDivisionError):
            next(results)
