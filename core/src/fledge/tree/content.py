"""File contents: where the bytes stand, not the bytes.

A `Source` is something random access can be had to: a layer in the store, a host file, bytes in memory.
A `Content` is a run of pieces of sources; what no piece covers is a hole and reads as zeros.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from fledge.errors import BuildError

_FOLIO: Final = 2 << 20
"""A fault may map the whole folio that the page belongs to: on recent kernels up to 2 MiB, aligned."""


class Source(Protocol):
    """Bytes with random access. Implementations are safe to read from several threads at once."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def view(self, start: int, length: int) -> memoryview:
        """The bytes from `start`, exactly `length` of them, without a copy where the source can do so.

        Raises BuildError when the source can't give them (it was cut short, a block is corrupt).
        """

    def release(self, start: int, length: int) -> None:
        """A promise that these bytes are not needed soon: memory stays flat in the image's size."""


class Views:
    """Views of any sources, and what is to be released when none of them is used any more."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans: dict[int, tuple[Source, int, int]] = {}

    def view(self, source: Source, start: int, length: int) -> memoryview:
        """As the source's own."""
        end = start + length
        known = self._spans.get(id(source))
        if known is None:
            self._spans[id(source)] = source, start, end
        elif start < known[1] or end > known[2]:
            self._spans[id(source)] = source, min(known[1], start), max(known[2], end)
        return source.view(start, length)

    def release(self) -> None:
        """Releases each source from the first to the last byte that was looked at; what lies between is hardly needed."""
        for source, first, last in self._spans.values():
            source.release(first, last - first)
        self._spans.clear()


class MemorySource:
    """Bytes that are in memory already."""

    __slots__ = ("_view", "size")

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size = len(data)

    def view(self, start: int, length: int) -> memoryview:
        """A slice of the bytes."""
        return self._view[start : start + length]

    def release(self, start: int, length: int) -> None:
        """Nothing to give back."""


class FileSource:
    """A file that nobody changes while it is read (a blob of the store), mapped into memory."""

    __slots__ = ("_map", "_view", "path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(fd).st_size
            self._map = mmap.mmap(fd, self.size, prot=mmap.PROT_READ) if self.size else None
        finally:
            os.close(fd)
        self._view = memoryview(self._map) if self._map is not None else memoryview(b"")

    def view(self, start: int, length: int) -> memoryview:
        """A window of the mapping; no copy is made."""
        return self._view[start : start + length]

    def release(self, start: int, length: int) -> None:
        """Drops the pages from this process; the page cache keeps them.

        Mapped file pages count as resident, and a build's peak would otherwise be the image's size.
        """
        if self._map is None or length <= 0:
            return
        begin = start // _FOLIO * _FOLIO
        end = min(self.size, -(-(start + length) // _FOLIO) * _FOLIO)
        self._map.madvise(mmap.MADV_DONTNEED, begin, end - begin)


class HostFileSource:
    """A file of the user's, opened anew for each read.

    Not mapped: a mapped file that is cut short kills the process (SIGBUS). Not held open: a mapped
    folder may have more files than the process may have descriptors.
    """

    __slots__ = ("_identity", "path", "size")

    def __init__(self, path: Path | bytes, status: os.stat_result | None = None) -> None:
        """Raises OSError. `path`: a regular file, or a symlink to one. `status`: what is known of it already."""
        if status is None:
            status = os.stat(path)
        self.path = path
        self.size = status.st_size
        self._identity = _identity(status)

    def view(self, start: int, length: int) -> memoryview:
        """A copy of the bytes. Raises BuildError when the file can't be read or is not the one it was."""
        try:
            # O_NONBLOCK: should it have become a FIFO, open(2) must not wait for a writer.
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BuildError(f"can't read {os.fsdecode(self.path)}: {error.strerror}") from error
        try:
            if _identity(os.fstat(fd)) != self._identity:
                raise BuildError(
                    f"{os.fsdecode(self.path)} changed while it was read", hint="build again when nothing writes to it"
                )
            data = os.pread(fd, length, start)
            while len(data) < length:
                more = os.pread(fd, length - len(data), start + len(data))
                if not more:
                    raise BuildError(
                        f"{os.fsdecode(self.path)} became shorter while it was read "
                        f"({start + len(data)} of {self.size} bytes)"
                    )
                data += more
            return memoryview(data)
        except OSError as error:
            raise BuildError(f"can't read {os.fsdecode(self.path)}: {error.strerror}") from error
        finally:
            os.close(fd)

    def release(self, start: int, length: int) -> None:
        """Nothing is held."""


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Piece:
    """`length` bytes of `source` from `start`, standing at `offset` in the file."""

    __slots__ = ("length", "offset", "source", "start")

    def __init__(self, offset: int, source: Source, start: int, length: int) -> None:
        self.offset = offset
        self.source = source
        self.start = start
        self.length = length


class Content:
    """A regular file's bytes: `size`, and the pieces that hold data, by rising offset and without overlap."""

    __slots__ = ("pieces", "size")

    def __init__(self, size: int, pieces: Sequence[Piece]) -> None:
        self.size = size
        self.pieces = pieces

    @classmethod
    def whole(cls, source: Source, start: int = 0, length: int | None = None) -> Self:
        """A file without holes: one run of a source."""
        size = source.size - start if length is None else length
        return cls(size, (Piece(0, source, start, size),) if size else ())

    @classmethod
    def of(cls, data: bytes) -> Self:
        """A file of bytes in memory."""
        return cls.whole(MemorySource(data))

    @property
    def is_sparse(self) -> bool:
        """Whether a byte of the file is in no piece."""
        pieces = self.pieces
        return (pieces[0].length if len(pieces) == 1 else sum(piece.length for piece in pieces)) != self.size

    def chunks(self, limit: int = 1 << 20) -> Iterator[memoryview]:
        """All bytes in order, holes as zeros, in views of at most `limit` bytes."""
        at = 0
        for piece in self.pieces:
            yield from _zeros(piece.offset - at, limit)
            for done in range(0, piece.length, limit):
                count = min(limit, piece.length - done)
                yield piece.source.view(piece.start + done, count)
                piece.source.release(piece.start + done, count)
            at = piece.offset + piece.length
        yield from _zeros(self.size - at, limit)

    def read(self) -> bytes:
        """All bytes at once; for files that are known to be small."""
        return b"".join(self.chunks())


def _zeros(count: int, limit: int) -> Iterator[memoryview]:
    block = memoryview(bytes(min(count, limit)))
    while count > 0:
        step = min(count, limit)
        yield block[:step]
        count -= step


EMPTY = Content(0, ())
