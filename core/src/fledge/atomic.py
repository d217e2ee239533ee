"""Files that are complete or absent: written under a temporary name, fsynced, renamed.

The temporary file stands in the folder of the final one (a rename does not cross filesystems) and is locked by
the process that writes it. A lock dies with its process, so whatever a killed process left behind is known to
be dead, and the next one that works in the folder removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Final, Self

SUFFIX: Final = ".fledge-part"
_FOLDER: Final = ".d"

_open: set[Path] = set()
"""The temporary files of this process that are neither committed nor discarded."""


class PartFile:
    """A locked temporary file, open for reading and writing. Leaving the `with` block without `commit` removes it."""

    def __init__(self, folder: Path, label: str) -> None:
        """Raises OSError. `label` goes into the name, so that a listing shows what it belongs to."""
        while True:
            self.path = folder / f".{label[:200]}.{secrets.token_hex(6)}{SUFFIX}"
            _open.add(self.path)
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            # Between open and flock another process may have taken it for dead and removed it.
            if os.fstat(self.fd).st_nlink:
                return
            self._close()

    def write(self, data: bytes) -> None:
        """Appends all of `data`. Raises OSError."""
        done = os.write(self.fd, data)
        while done < len(data):
            done += os.write(self.fd, memoryview(data)[done:])

    def sync(self) -> None:
        """Raises OSError when the disk can't hold the bytes: some filesystems say so only now."""
        os.fsync(self.fd)

    def folder(self) -> Path:
        """A folder beside it, for what programs leave lying about; it goes when the file is discarded. Raises OSError."""
        folder = _folder_of(self.path)
        folder.mkdir(mode=0o700)
        return folder

    def commit(self, final: Path) -> None:
        """Gives the file its final name, over whatever has that name. Call `sync` first for what must survive a crash."""
        os.rename(self.path, final)
        self._close()

    def discard(self) -> None:
        """Removes it, unless it was committed."""
        if self.fd >= 0:
            shutil.rmtree(_folder_of(self.path), ignore_errors=True)
            self.path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        _open.discard(self.path)
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def discard_open() -> None:
    """Removes every temporary file of this process; for a process that is about to end."""
    for path in tuple(_open):
        path.unlink(missing_ok=True)


def remove_dead(folder: Path) -> None:
    """Removes the temporary files in `folder` whose process is gone, and the folders whose file is gone."""
    for path in folder.glob(f".*{SUFFIX}"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            pass  # Somebody is writing it.
        finally:
            os.close(fd)
    for path in folder.glob(f".*{SUFFIX}{_FOLDER}"):
        if not path.with_name(path.name.removesuffix(_FOLDER)).exists():
            shutil.rmtree(path, ignore_errors=True)


def _folder_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{_FOLDER}")


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a crash (fsync(2): a directory's entry needs its own)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
