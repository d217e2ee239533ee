"""Where an archive's documents and blobs are read from: a folder, or a tar that is never unpacked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from fledge.errors import BuildError

CHUNK: Final = 1 << 20


class Files(Protocol):
    """Files by relative name. Safe to use from several threads."""

    where: str
    """For messages."""

    def size(self, name: str) -> int | None:
        """A file's size in bytes; None where there is no such file."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's bytes; none where there is no such file. Raises BuildError when it can't be read."""


def read(files: Files, name: str, limit: int) -> bytes | None:
    """A small file, or its first bytes over `limit`; None where there is no such file."""
    if files.size(name) is None:
        return None
    data = bytearray()
    for chunk in files.chunks(name):
        data += chunk
        if len(data) > limit:
            break
    return bytes(data)


class FolderFiles:
    """A folder of the user's. Symlinks are followed: Bazel's layouts consist of them, and every blob is verified."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder

    def size(self, name: str) -> int | None:
        """See Files.size."""
        fd = self._open(name)
        if fd is None:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def chunks(self, name: str) -> Iterator[bytes]:
        """See Files.chunks."""
        fd = self._open(name)
        if fd is None:
            return
        try:
            while chunk := os.read(fd, CHUNK):
                yield chunk
        except OSError as error:
            raise BuildError(f"can't read {self._folder / name}: {error.strerror}") from error
        finally:
            os.close(fd)

    def _open(self, name: str) -> int | None:
        path = self._folder / name
        try:
            # O_NONBLOCK: open(2) of a FIFO would wait for a writer.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BuildError(f"can't read {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise BuildError(f"{path} is not a regular file")
        return fd
