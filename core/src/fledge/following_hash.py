"""The sha256 of a file that is being written, by a thread that follows behind."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Final

from fledge.values import Digest

_CHUNK: Final = 8 << 20
"""Bytes per call: each one gives up the interpreter's lock once, and to get it back can take 5 ms."""
_ZEROS: Final = bytes(_CHUNK)


class FollowingHash:
    """The sha256 of what stands in the file behind a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sha256 = hashlib.sha256()
        self._changed = threading.Condition()
        self._end = 0
        self._done = 0
        self._stopped = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def settled(self, end: int) -> None:
        """The bytes before `end` are final: the thread may read them."""
        with self._changed:
            self._end = max(self._end, end)
            self._stopped = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fledge-sha256", daemon=True)
                self._thread.start()
            self._changed.notify()

    def unsettle(self, start: int) -> None:
        """Begins anew when bytes change that were declared settled."""
        if start < self._end:
            self.stop()
            self._sha256 = hashlib.sha256()
            self._end = self._done = 0

    def digest(self, size: int) -> Digest:
        """Of the first `size` bytes, all of them final; waits for it. Raises OSError when they can't be read."""
        self.settled(size)
        with self._changed:
            self._changed.wait_for(lambda: self._done >= size or self._error is not None)
        self.stop()
        if self._error is not None:
            raise self._error
        return Digest("sha256", self._sha256.hexdigest())

    def stop(self) -> None:
        """Ends the thread: the descriptor is not used any more until the next call."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._end > self._done)
                if self._stopped:
                    return
                end = self._end
            try:
                while self._done < end and not self._stopped:
                    self._step(end, view)
            except OSError as error:
                self._error = error
            with self._changed:
                self._changed.notify_all()
                if self._error is not None:
                    return

    def _step(self, end: int, view: memoryview) -> None:
        """Hashes the hole or up to a chunk of the data that comes next."""
        data = _next_data(self._fd, self._done, end)
        while self._done < data:
            count = min(_CHUNK, data - self._done)
            self._sha256.update(memoryview(_ZEROS)[:count])
            self._done += count
        stop = min(end, data + _CHUNK)
        while self._done < stop:
            count = os.preadv(self._fd, [view[: stop - self._done]], self._done)
            if count == 0:
                raise OSError(5, "the file became shorter while it was written")
            self._sha256.update(view[:count])
            self._done += count


def _next_data(fd: int, start: int, end: int) -> int:
    try:
        return min(end, os.lseek(fd, start, os.SEEK_DATA))
    except OSError:  # ENXIO: a hole up to the end of the file. EINVAL: no such seek on this filesystem.
        return end if start < end and os.fstat(fd).st_size >= end else start
