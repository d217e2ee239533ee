"""Fresh environments with built wheels, as users have them: nothing editable, readable by everybody."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"
"""The system's: that of a venv may stand in a home folder that nobody else can enter."""
NOBODY = 65534


def uv(root: Path, *arguments: str | Path) -> None:
    """Runs uv; skips the test when it is not there. `root`: the checkout, whose own uv comes first."""
    program = shutil.which("uv", path=f"{root / '.uv' / 'bin'}:{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("uv is not installed (make setup)")
    done = subprocess.run([program, *map(str, arguments)], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"uv {' '.join(map(str, arguments))}: {done.stderr}")


def build_wheels(root: Path, folder: Path) -> None:
    """A wheel of every distribution of the workspace."""
    uv(root, "build", "--quiet", "--wheel", "--all-packages", "--out-dir", folder)


class Venv:
    """An environment with the system's Python."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.python = folder / "bin" / "python"
        self.fledge = folder / "bin" / "fledge"
        if not self.python.exists():
            if self._version() < (3, 11):
                pytest.skip(f"{PYTHON} is not there or older than 3.11")
            uv(root, "venv", "--quiet", "--python", PYTHON, folder)

    def install(self, wheels: Path, *requirements: str) -> None:
        """Installs from the wheels, and what they need from the index."""
        # With bytecode, since who has no right to write there would compile everything at each start.
        options = ("--quiet", "--compile-bytecode", "--find-links", wheels, "--python", self.python)
        uv(self.root, "pip", "install", *options, *requirements)

    def uninstall(self, *names: str) -> None:
        """Removes distributions."""
        uv(self.root, "pip", "uninstall", "--quiet", "--python", self.python, *names)

    @staticmethod
    def _version() -> tuple[int, ...]:
        try:
            code = "import sys; print(*sys.version_info[:2])"
            done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return (0, 0)
        return tuple(map(int, done.stdout.split()))


def need_unprivileged_user() -> dict[str, object]:
    """What makes Popen run a program as nobody. Skips for anyone but root, who alone can do so."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody")
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root, who reads everything, has nobody's rights in the block; others have their own."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
