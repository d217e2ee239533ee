"""The artifact while it is written, and the one moment at which a build becomes visible."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from fledge.atomic import PartFile, remove_dead, sync_folder
from fledge.errors import BuildError, UsageError
from fledge.tree.content import Source
from fledge.values import Digest

IOV_MAX: Final = 1024
"""How many buffers one pwritev(2) takes on Linux."""

_BATCH: Final = 8 << 20
_CHUNK: Final = 1 << 20
_ZEROS: Final = bytes(_CHUNK)
_GAP: Final = 4096

Run = tuple[int, Source, int, int]
"""Offset in the artifact, source, start in the source, length."""


class ArtifactFile:
    """A file to write an artifact into: random access, sparse where nothing is written.

    Its sha256 is computed by a thread of its own, which follows behind what the writer has declared `settled`;
    `finish` lets that thread go on and brings the bytes to disk meanwhile. Writing errors raise BuildError with
    the final path.
    """

    def __init__(self, path: Path) -> None:
        """`path`: where it will stand in the end. Its folder must exist."""
        self.path = path
        self.size = 0
        self._finished = False
        with self._telling():
            self._part = PartFile(path.parent, path.name)
        self._hasher = _Hasher(self._part.fd)

    def fileno(self) -> int:
        """The descriptor, for reading back and for what os offers."""
        return self._part.fd

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """All of `data` at `offset` (bytes)."""
        self.writev(offset, (data,))

    def writev(self, offset: int, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """All buffers one after the other from `offset`."""
        self._hasher.unsettle(offset)
        with self._telling():
            for first in range(0, len(buffers), IOV_MAX):
                batch = buffers[first : first + IOV_MAX]
                written = os.pwritev(self._part.fd, batch, offset)
                wanted = sum(map(len, batch))
                while written < wanted:  # Cut short by a signal or by the 2 GiB limit of one call.
                    written += os.pwrite(self._part.fd, b"".join(batch)[written:], offset + written)
                offset += wanted

    def copy(self, runs: Iterable[Run]) -> None:
        """Copies runs of sources, by rising offset; gaps of less than 4 KiB between runs are written as zeros.

        Gathers many small runs into one pwritev(2), straight from the mapped layers.
        """
        buffers: list[bytes | memoryview] = []
        held: list[Run] = []
        begin = at = size = 0
        for run in runs:
            offset, source, start, length = run
            while length:
                gap = offset - at
                if buffers and (len(buffers) + 2 > IOV_MAX or size >= _BATCH or not 0 <= gap < _GAP):
                    self._flush(begin, buffers, held)
                    buffers, held, size = [], [], 0
                if not buffers:
                    begin = offset
                elif gap:
                    buffers.append(_ZEROS[:gap])
                    size += gap
                step = min(length, _BATCH)
                buffers.append(source.view(start, step))
                held.append((offset, source, start, step))
                size += step
                offset += step
                start += step
                length -= step
                at = offset
        if buffers:
            self._flush(begin, buffers, held)

    def _flush(self, begin: int, buffers: Sequence[bytes | memoryview], held: Sequence[Run]) -> None:
        self.writev(begin, buffers)
        spans: dict[int, tuple[Source, int, int]] = {}
        for _, source, start, length in held:
            known = spans.get(id(source))
            if known is None:
                spans[id(source)] = (source, start, start + length)
            else:
                spans[id(source)] = (source, min(known[1], start), max(known[2], start + length))
        for source, first, last in spans.values():
            source.release(first, last - first)

    def settled(self, end: int) -> None:
        """A promise that no byte before `end` will change any more."""
        self._hasher.settled(end)

    def allocate(self, size: int) -> None:
        """Reserves the disk's blocks for all `size` bytes. Raises BuildError when there is no room for them."""
        with self._telling():
            os.posix_fallocate(self._part.fd, 0, size)

    def finish(self, size: int) -> None:
        """Makes the file `size` bytes long, settles it all and brings it to disk.

        Whoever writes more afterwards (an extension that appends verity data) finishes again. Raises BuildError
        when the disk can't hold the bytes.
        """
        with self._telling():
            os.ftruncate(self._part.fd, size)
            self.size = size
            self._finished = True
            self._hasher.settled(size)
            self._part.sync()

    @property
    def digest(self) -> Digest:
        """The sha256 of all bytes; waits until it is known. Only of a finished file."""
        assert self._finished, "finish() was not called"
        with self._telling():
            return self._hasher.digest(self.size)

    def sync(self) -> None:
        """Brings to disk what was written since `finish`."""
        with self._telling():
            self._part.sync()

    def commit(self) -> None:
        """Gives the file its name."""
        # The descriptor's number is free for others after this, and the thread seeks in it.
        self._hasher.stop()
        with self._telling():
            self._part.commit(self.path)

    def discard(self) -> None:
        """Removes it, unless it was committed."""
        self._hasher.stop()
        self._part.discard()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BuildError(f"can't write {self.path}: {error.strerror}") from error


class _Hasher:
    """sha256 of a growing file, in a thread that stays behind the settled bytes."""

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
        self.settled(size)
        with self._changed:
            self._changed.wait_for(lambda: self._done >= size or self._error is not None)
        self.stop()
        if self._error is not None:
            raise self._error
        return Digest("sha256", self._sha256.hexdigest())

    def stop(self) -> None:
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
            self._sha256.update(_ZEROS[:count] if count < _CHUNK else _ZEROS)
            self._done += count
        stop = min(end, data + 16 * _CHUNK)
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


class Outputs:
    """The files of one build. `commit` shows them all; leaving the `with` block before that leaves no trace."""

    def __init__(self) -> None:
        self._artifact: ArtifactFile | None = None
        self._manifest: tuple[PartFile, Path] | None = None

    def artifact(self, path: Path) -> ArtifactFile:
        """Begins the artifact that will stand at `path`. Raises UsageError when it can't stand there."""
        folder = path.parent
        if not folder.is_dir():
            raise UsageError(f"the output folder {folder} does not exist", hint=f"mkdir -p {folder}")
        if path.is_dir():
            raise UsageError(f"the output {path} is a folder", hint="name a file with --output")
        remove_dead(folder)
        self._artifact = ArtifactFile(path)
        return self._artifact

    def manifest(self, path: Path, data: bytes) -> None:
        """Writes the manifest that will stand at `path`."""
        try:
            part = PartFile(path.parent, path.name)
            self._manifest = part, path
            os.write(part.fd, data)
            part.sync()
        except OSError as error:
            raise BuildError(f"can't write {path}: {error.strerror}") from error

    def commit(self) -> None:
        """Shows the artifact, then the manifest.

        No moment shows a manifest beside an artifact that is not its own: the old manifest goes first, and builds
        of the same output take turns. Signals wait until it is over.
        """
        assert self._artifact is not None
        assert self._manifest is not None
        part, manifest = self._manifest
        self._artifact.sync()
        folder = os.open(manifest.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            manifest.unlink(missing_ok=True)
            self._artifact.commit()
            part.commit(manifest)
            os.fsync(folder)
        except OSError as error:
            raise BuildError(f"can't write {manifest}: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
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
