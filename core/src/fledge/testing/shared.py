"""What is too dear to be made by every worker of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def once(name: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """A folder that `make` makes for all workers of a run; the last one to leave removes it.

    It stands directly below the system's folder for temporary files, since pytest's own can't be entered by other
    users. For fixtures of scope session.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    top = Path(tempfile.gettempdir(), f"fledge-{name}-{run}")
    folder = top / "made"
    with _locked(top, "making"):
        if not folder.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder)
                raise
        users = os.open(top / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(users, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        with _locked(top, "making"):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                shutil.rmtree(top)
            os.close(users)


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    while True:
        folder.mkdir(exist_ok=True)
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            break
        os.close(fd)  # The last user removed the folder meanwhile.
    try:
        yield
    finally:
        os.close(fd)
