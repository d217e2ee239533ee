"""A file of the build context, which is read once, however many steps copy it."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from fledge.tree.content import FileSource, HostFileSource

_CHUNK: Final = 1 << 20


class ContextFile(HostFileSource):
    """Takes its digest along while its bytes are read; when a layer holds these, it is read from there.

    So two steps can't copy different bytes, and a step that was done without looking for it in the cache is known by what
    went into its layer. Until the digest is known, only one thread may read it.
    """

    __slots__ = ("_digest", "_hash", "_hashed", "_place")

    def __init__(self, path: bytes, status: os.stat_result) -> None:
        """`status`: of the file, from lstat(2)."""
        super().__init__(path, status)
        self._hash: hashlib._Hash | None = None  # While some of the bytes are hashed: there may be 100,000 files.
        self._hashed = 0
        self._digest = None if self.size else hashlib.sha256().digest()
        self._place: tuple[FileSource, int] | None = None

    def view(self, start: int, length: int) -> memoryview:
        """As any source's. Raises BuildError."""
        if self._place is not None:
            tar, at = self._place
            return tar.view(at + start, length)
        view = super().view(start, length)
        if self._digest is None:
            if start == 0:  # Whoever begins anew may go on to the end: ADD looks at the first bytes before.
                self._hash, self._hashed = hashlib.sha256(), 0
            if start == self._hashed:
                self._take(view)
        return view

    def _take(self, view: memoryview) -> None:
        assert self._hash is not None
        self._hash.update(view)
        self._hashed += len(view)
        if self._hashed == self.size:
            self._digest, self._hash = self._hash.digest(), None

    def release(self, start: int, length: int) -> None:
        """As any source's."""
        if self._place is not None:
            tar, at = self._place
            tar.release(at + start, length)

    def digest(self) -> bytes:
        """The SHA-256 of its bytes; reads those that were not read yet.

        Raises BuildError.
        """
        while self._digest is None:
            self.view(self._hashed, min(_CHUNK, self.size - self._hashed))
        return self._digest

    def settle(self, tar: FileSource, start: int) -> None:
        """`tar` has all its bytes, from `start` on."""
        self.digest()
        self._place = tar, start
