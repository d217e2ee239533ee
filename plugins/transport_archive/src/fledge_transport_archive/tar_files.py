"""An archive that is read where it is: only its members' headers at first, then what is asked for."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fledge.atomic import PartFile
from fledge.errors import BuildError
from fledge.store import Store
from fledge.tree import index as ix
from fledge.tree.decompress import decompress
from fledge.tree.ingest import Limits
from fledge.tree.tar import TarReader

from fledge_transport_archive.files import CHUNK

_HEADERS: Final = 64 << 10
"""Bytes read at each header: archives of images have few members, and most of them are large."""
_MAX_LINKS: Final = 8
_MAGIC_AT: Final = 257
_USTAR: Final = b"ustar"


@contextmanager
def open_archive(path: Path, store: Store) -> Iterator[TarFiles]:
    """The members of a tar, which may be compressed. Raises BuildError when it can't be read or is no sound tar."""
    try:
        # O_NONBLOCK: open(2) of a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BuildError(f"{path} is not a regular file")
        if os.pread(fd, len(_USTAR), _MAGIC_AT) == _USTAR:
            yield TarFiles(fd, str(path))
            return
        # Nothing can be found in a compressed tar but by decompressing it up to there.
        with store.part(path.name) as part:
            _spool(fd, part, str(path))
            yield TarFiles(part.fd, str(path))
    finally:
        os.close(fd)


def _spool(fd: int, part: PartFile, where: str) -> None:
    limit = Limits.from_environ(os.environ).max_size
    written = 0
    try:
        for block in decompress(iter(lambda: os.read(fd, CHUNK), b""), where):
            written += len(block)
            if written > limit:
                raise BuildError(f"{where} decompresses to more than {limit} bytes")
            part.write(block)
    except OSError as error:
        raise BuildError(f"can't decompress {where} into {part.path.parent}: {error.strerror}") from error


class TarFiles:
    """The members of an uncompressed tar, as `Files`."""

    def __init__(self, fd: int, where: str) -> None:
        """`fd`: of a regular file, left open. Raises BuildError when it is no sound tar."""
        self.where = where
        self._fd = fd
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._read_index()

    def size(self, name: str) -> int | None:
        """See Files.size. Links inside the archive are followed."""
        found = self._find(name)
        return None if found is None else found[1]

    def chunks(self, name: str) -> Iterator[bytes]:
        """See Files.chunks."""
        found = self._find(name)
        if found is None:
            return
        start, size = found
        end = start + size
        while start < end:
            chunk = self._pread(min(CHUNK, end - start), start)
            if not chunk:
                raise BuildError(f"{self.where} became shorter while it was read")
            start += len(chunk)
            yield chunk

    def _find(self, name: str) -> tuple[int, int] | None:
        name = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            if name in self._members:
                return self._members[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def _read_index(self) -> None:
        size = os.fstat(self._fd).st_size
        reader = TarReader(self.where)
        at = 0
        while at < size:
            data = self._pread(_HEADERS, at)
            if not data:
                break
            reader.feed(data)
            at = reader.skip_data(size)
        index = reader.finish()
        targets = iter(index.targets)
        for path, (kind, _, _, _, _, _, length, start, extra) in zip(index.paths, index.records(), strict=True):
            name = path.decode("utf-8", "surrogateescape")
            self._members.pop(name, None)  # The last of a name is the one that counts.
            self._links.pop(name, None)
            if kind == ix.FILE and index.extras[extra].extents is None:
                self._members[name] = start, length
            elif kind in ix.LINKS:
                target = next(targets).decode("utf-8", "surrogateescape")
                if kind == ix.SYMLINK:
                    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                self._links[name] = target

    def _pread(self, count: int, at: int) -> bytes:
        try:
            return os.pread(self._fd, count, at)
        except OSError as error:
            raise BuildError(f"can't read {self.where}: {error.strerror}") from error
