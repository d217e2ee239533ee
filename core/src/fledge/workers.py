"""Work in threads, with results in order: the image's bytes never depend on which thread was first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of the items; at most `window` are under way or waiting."""
    pending: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        if len(pending) >= window:
            first, future = pending.popleft()
            yield first, future.result()
        pending.append((item, pool.submit(function, item)))
    while pending:
        first, future = pending.popleft()
        yield first, future.result()
