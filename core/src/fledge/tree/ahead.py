"""One stage of a pipeline: an iterator that runs in a thread of its own, a few items ahead of its reader."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Iterator[T], Generic[T]):
    """Iterates `items` in a thread; what it raises is raised to the reader, and again whenever the reader asks.

    Worth it where the items' making releases the GIL: hashing, decompressing, reading from a socket. Leaving the
    `with` block stops the thread and waits for it, so that nothing runs on behind an error.
    """

    def __init__(self, items: Iterable[T], depth: int = 4) -> None:
        """`depth`: how many items may wait; the thread pauses when the reader falls behind."""
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._end: _End | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, args=(items,), name="ahead", daemon=True)
        self._thread.start()

    def _run(self, items: Iterable[T]) -> None:
        error = None
        try:
            for item in items:
                if self._stop:
                    break
                self._queue.put(item)
        except BaseException as caught:
            error = caught
        self._queue.put(_End(error))

    def __next__(self) -> T:
        if self._end is None:
            item = self._queue.get()
            if not isinstance(item, _End):
                return item
            self._end = item
        raise self._end.error or StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        while self._end is None:
            item = self._queue.get()
            self._end = item if isinstance(item, _End) else None
        self._thread.join()
