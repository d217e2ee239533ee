"""Judges of an artifact that share no code with us: the kernel and the distributions' own tools."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_BESIDE = os.path.abspath(os.path.join(__file__, *[".."] * 6, "shared", "tools"))
BENCH_TOOLS: Final = Path(os.environ.get("FLEDGE_BENCH_TOOLS") or _BESIDE)
"""Tools of the project that are not in its repository: beside the checkout, if nothing else is said."""

USER_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

_CLONE_NEWNS: Final = 0x00020000


def need_root() -> None:
    """Skips the test for anyone but root."""
    if os.geteuid() != 0:
        pytest.skip("needs root (mounts, device nodes)")


def need_tool(name: str, package: str | None = None) -> str:
    """The path of a program; skips the test when it is not installed. `package`: Debian's, when named otherwise."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {package or name})")
    return found


def need_material(name: str) -> Path:
    """What `tools/test-material` has made, such as `programs/buildkitd`; skips the test where it has not."""
    path = USER_CACHE / "fledge-tests" / name
    if not path.exists():
        pytest.skip(f"{path} is not there (tools/test-material)")
    return path


def run(*argv: str | os.PathLike[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a tool with its output captured; a failure shows that output."""
    done = subprocess.run(
        [os.fspath(word) for word in argv],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


@contextmanager
def mounted(image: Path, fstype: str, *, writable: bool = False) -> Iterator[Path]:
    """The kernel's view of an image, mounted through a loop device for as long as the block lasts."""
    need_root()
    _own_mount_namespace()
    folder = Path(tempfile.mkdtemp(prefix="fledge-mount-"))
    options = "loop" if writable else "loop,ro"
    if fstype == "xfs":
        options += ",nouuid"  # Images of one tree have one UUID, of which the kernel mounts one at a time.
    done = run("mount", "-t", fstype, "-o", options, image, folder, check=False)
    try:
        if done.returncode != 0:
            if "unknown filesystem type" in done.stderr:
                pytest.skip(f"this kernel has no {fstype}")
            pytest.fail(f"the kernel does not mount {image}: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            run("umount", folder)
    finally:
        folder.rmdir()


@cache
def _own_mount_namespace() -> None:
    """Keeps our mounts from everybody else.

    A process that makes itself a mount namespace (a container engine, mmdebstrap) gets a copy of every mount there is,
    and what it holds stays mounted, its last writes unwritten, long after our umount.
    """
    # os.unshare came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        pytest.skip(f"can't make a mount namespace: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")


def treediff(one: Path, other: Path, *options: str) -> list[str]:
    """The differences between two folders as an independent tool sees them; skips when that tool is not there."""
    tool = BENCH_TOOLS / "treediff"
    if not tool.exists():
        pytest.skip(f"{tool} is not there; FLEDGE_BENCH_TOOLS names the folder that has it")
    done = run(sys.executable, tool, one, other, *options, check=False)
    return [] if done.returncode == 0 else done.stdout.splitlines() or [done.stderr]
