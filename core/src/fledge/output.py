"""The artifact while it is written, and the one moment at which a build becomes visible."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from fledge.atomic import PartFile, remove_dead, sync_folder
from fledge.errors import BuildError, UsageError
from fledge.following_hash import FollowingHash
from fledge.tree.content import Source, Views
from fledge.values import Digest

IOV_MAX: Final = 1024
"""How many buffers one pwritev(2) takes on Linux."""

_BATCH: Final = 8 << 20
_SETTLE: Final = 16 << 20
"""Bytes of content that are copied before the checksum's thread may go on."""
_GAP: Final = 4096
_ZEROS: Final = bytes(_GAP)

Copy = tuple[int, Source, int, int]
"""Offset in the artifact, source, start in the source, length."""


class ImageFile:
    """A file to write a filesystem into: random access, sparse where nothing is written.

    Writing errors raise BuildError with `path`.
    """

    def __init__(self, path: Path, fd: int) -> None:
        """`path`: for messages. `fd`: open for writing, and the caller's to close."""
        self.path = path
        self.size = 0
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor, for reading back and for what os offers."""
        return self._fd

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """All of `data` at `offset` (bytes)."""
        self.writev(offset, (data,))

    def writev(self, offset: int, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """All buffers one after the other from `offset`."""
        with self._telling():
            for first in range(0, len(buffers), IOV_MAX):
                batch = buffers[first : first + IOV_MAX]
                written = os.pwritev(self._fd, batch, offset)
                wanted = sum(map(len, batch))
                while written < wanted:  # Cut short by a signal or by the 2 GiB limit of one call.
                    written += os.pwrite(self._fd, b"".join(batch)[written:], offset + written)
                offset += wanted

    def copy(self, runs: Iterable[Copy]) -> None:
        """Copies runs of sources, by rising offset; gaps of less than 4 KiB between runs are written as zeros.

        Gathers many small runs into one pwritev(2), straight from the mapped layers.
        """
        buffers: list[bytes | memoryview] = []
        views = Views()
        begin = at = size = 0
        for offset, source, start, length in runs:
            while length:
                gap = offset - at
                if buffers and (len(buffers) + 2 > IOV_MAX or size >= _BATCH or not 0 <= gap < _GAP):
                    self.writev(begin, buffers)
                    views.release()
                    buffers, size = [], 0
                if not buffers:
                    begin = offset
                elif gap:
                    buffers.append(_ZEROS[:gap])
                    size += gap
                step = min(length, _BATCH)
                buffers.append(views.view(source, start, step))
                size += step
                offset += step
                start += step
                length -= step
                at = offset
        if buffers:
            self.writev(begin, buffers)
            views.release()

    def settled(self, end: int) -> None:
        """A promise that no byte before `end` will change any more."""

    def copy_settling(
        self,
        runs: Iterable[Copy],
        advance: Callable[[int], None],
        before: Callable[[Sequence[Copy]], None] | None = None,
    ) -> None:
        """As `copy`, when all else before the last run is final: settles what is copied as it goes.

        `advance` is told how many bytes were copied. `before` sees the runs ahead of that, a few MiB at a time: the copy
        releases their sources, so what it reads of them is in memory no longer than that.
        """
        for batch in _batches(runs):
            if before is not None:
                before(batch)
            self.copy(batch)
            offset, _, _, length = batch[-1]
            self.settled(offset + length)
            advance(sum([run[3] for run in batch]))

    def allocate(self, size: int) -> None:
        """Reserves the disk's blocks for all `size` bytes. Raises BuildError when there is no room for them."""
        with self._telling():
            os.posix_fallocate(self._fd, 0, size)

    def finish(self, size: int) -> None:
        """Makes the file `size` bytes long."""
        with self._telling():
            os.ftruncate(self._fd, size)
        self.size = size

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BuildError(f"can't write {self.path}: {error.strerror}") from error


def _batches(runs: Iterable[Copy]) -> Iterator[list[Copy]]:
    """The same in the same order, long ones in parts: _SETTLE bytes at a time."""
    batch: list[Copy] = []
    room = _SETTLE
    for run in runs:
        offset, source, start, length = run
        if length < room:
            batch.append(run)
            room -= length
            continue
        while length >= room:
            batch.append((offset, source, start, room))
            yield batch
            offset += room
            start += room
            length -= room
            batch, room = [], _SETTLE
        if length:
            batch.append((offset, source, start, length))
            room -= length
    if batch:
        yield batch


class ArtifactFile(ImageFile):
    """An artifact's file.

    Its sha256 is computed by a thread of its own, which follows behind what the writer has declared `settled`;
    `finish` lets that thread go on and brings the bytes to disk meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """`path`: where it will stand in the end. Its folder must exist."""
        self.path = path
        self._finished = False
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="fledge-fsync")
        self._flushed: Future[None] | None = None
        with self._telling():
            self._part = PartFile(path.parent, path.name)
        super().__init__(path, self._part.fd)
        self._hasher = FollowingHash(self._part.fd)

    def writev(self, offset: int, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """See ImageFile.writev."""
        self._hasher.unsettle(offset)
        super().writev(offset, buffers)

    def settled(self, end: int) -> None:
        """A promise that no byte before `end` will change any more; what was not written there are holes."""
        with self._telling():
            if os.fstat(self.fileno()).st_size < end:
                os.ftruncate(self.fileno(), end)
        self._hasher.settled(end)

    def finish(self, size: int) -> None:
        """Makes the file `size` bytes long, settles it all and begins to bring it to disk.

        Whoever writes more afterwards (an extension that appends verity data) finishes again. Raises BuildError when
        the disk could not hold what was there the last time: the kernel tells of it only once.
        """
        with self._telling():
            if self._flushed is not None:
                self._flushed.result()
        super().finish(size)
        self._finished = True
        self._hasher.settled(size)
        self._flushed = self._flusher.submit(self._part.sync)

    @property
    def digest(self) -> Digest:
        """The sha256 of all bytes; waits until it is known. Only of a finished file."""
        assert self._finished, "finish() was not called"
        with self._telling():
            return self._hasher.digest(self.size)

    def sync(self) -> None:
        """Waits until all bytes are on disk. Raises BuildError when it can't hold them: some filesystems say so only now."""
        with self._telling():
            if self._flushed is not None:
                self._flushed.result()
            self._part.sync()

    def commit(self) -> None:
        """Gives the file its name."""
        self._end_threads()
        with self._telling():
            self._part.commit(self.path)

    def discard(self) -> None:
        """Removes it, unless it was committed."""
        self._end_threads()
        self._part.discard()

    def _end_threads(self) -> None:
        # The descriptor's number is free for others after this, and both threads use it.
        self._hasher.stop()
        self._flusher.shutdown()


class Outputs:
    """The files of one build. `commit` shows them all; leaving the `with` block before that leaves no trace."""

    def __init__(self) -> None:
        self._artifact: ArtifactFile | None = None
        self._manifest: tuple[PartFile, Path] | None = None

    @staticmethod
    def prepare(path: Path) -> None:
        """Raises UsageError or BuildError when an artifact can't stand at `path`; removes what killed builds left there.

        Makes nothing: the folder may be the context of a Dockerfile, whose builder takes all that it finds.
        """
        folder = path.parent
        if not os.path.isdir(folder):
            raise UsageError(f"the output folder {folder} does not exist", hint=f"mkdir -p {folder}")
        if os.path.isdir(path):
            raise UsageError(f"the output {path} is a folder", hint="name a file with --output")
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise BuildError(f"can't write {path}: no permission for its folder, or a filesystem that is read-only")
        remove_dead(folder)

    def artifact(self, path: Path) -> ArtifactFile:
        """Begins the artifact that will stand at `path`."""
        self._artifact = ArtifactFile(path)
        return self._artifact

    def manifest(self, path: Path, data: bytes) -> None:
        """Writes the manifest that will stand at `path`."""
        try:
            part = PartFile(path.parent, path.name)
            self._manifest = part, path
            part.write(data)
            part.sync()
        except OSError as error:
            raise BuildError(f"can't write {path}: {error.strerror}") from error

    def commit(self) -> None:
        """Shows the artifact, then the manifest.

        No moment shows a manifest beside an artifact that is not its own: the old manifest goes first, and builds
        of the same output take turns. An interrupt comes too late: it would leave neither the old output nor the new.
        """
        assert self._artifact is not None
        assert self._manifest is not None
        part, manifest = self._manifest
        self._artifact.sync()
        folder = os.open(manifest.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            with _uninterrupted():
                manifest.unlink(missing_ok=True)
                self._artifact.commit()
                part.commit(manifest)
                os.fsync(folder)
        except OSError as error:
            raise BuildError(f"can't write {manifest}: {error.strerror}") from error
        finally:
            os.close(folder)
        if manifest.parent != self._artifact.path.parent:
            sync_folder(self._artifact.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._artifact is not None:
            self._artifact.discard()
        if self._manifest is not None:
            self._manifest[0].discard()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Drops the signals that end a build. Only the main thread can do so, which is where Python runs handlers.

    A signal mask would not do: the kernel gives a signal that one thread blocks to another one, such as the display's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
