"""The one place that runs external programs. Nothing on the default path needs one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, Any, Final

from fledge.errors import BuildError
from fledge.progress import Progress, printable


class ProgramError(BuildError):
    """A program ran and failed; some tell why on stdout."""

    def __init__(self, message: str, stdout: bytes = b"", *, transcript: Sequence[str] = ()) -> None:
        super().__init__(message, transcript=transcript)
        self.stdout = stdout


_PR_SET_PDEATHSIG: Final = 1
_TAIL: Final = 10
"""How many lines are told when something went wrong."""
_LONGEST: Final = 64 << 10
"""Bytes of a line that are looked at."""

_running: set[subprocess.Popen[bytes]] = set()


def run(
    argv: Sequence[str],
    progress: Progress,
    *,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    package: str | None = None,
    timeout: float | None = None,
) -> bytes:
    """Runs a program without a shell and returns its stdout.

    The locale is pinned, so that what it prints can be parsed. `package`: who has the program, for the hint.
    `timeout`: seconds. Raises ProgramError with the command and the tail of its stderr when it fails, BuildError when it
    is missing or takes too long.
    """
    process = _start(argv, progress, package, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_pinned(environ))
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise BuildError(f"{shlex.join(argv)} did not end within {timeout:g} s") from None
    finally:
        _running.discard(process)
    if process.returncode != 0:
        tail = err.decode("utf-8", "backslashreplace").strip().splitlines()[-1:] or ["it printed nothing"]
        raise ProgramError(f"{shlex.join(argv)} failed with exit code {process.returncode}: {tail[0]}", out)
    return out


def follow(
    argv: Sequence[str],
    progress: Progress,
    tell: Callable[[str], None],
    *,
    what: str,
    stdout: int | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | None = None,
    package: str | None = None,
) -> None:
    """Runs a program to its end, which is also this process's, and tells each line that it prints, as it comes.

    `what`: the program, for the error; argv may hold what does not belong there. `stdout`: a file for its stdout, and
    only stderr is told. Raises ProgramError with the exit code and the last lines, BuildError when it is missing.
    """
    stderr = STDOUT if stdout is None else PIPE
    process = _start(
        argv,
        progress,
        package,
        stdin=DEVNULL,
        stdout=PIPE if stdout is None else stdout,
        stderr=stderr,
        env=_pinned(environ),
        cwd=cwd,
        preexec_fn=_die_with_us(),
    )
    tail: deque[str] = deque(maxlen=_TAIL)
    lines = process.stdout if stdout is None else process.stderr
    assert lines is not None
    try:
        with lines:
            for raw in _bounded(lines):
                # What draws over its own line is told as it looked in the end.
                if line := printable(raw.rstrip(b"\r\n").rpartition(b"\r")[2]):
                    tail.append(line)
                    tell(line)
        process.wait()
    finally:
        process.kill()
        process.wait()
        _running.discard(process)
    if process.returncode != 0:
        said = tail[-1].strip() if tail else "it printed nothing"
        raise ProgramError(f"{what} failed with exit code {process.returncode}: {said}", transcript=tail)


def _bounded(lines: IO[bytes]) -> Iterator[bytes]:
    """Lines, and of long ones the end: a program may draw over one for hours, or print what has none."""
    line = b""
    while piece := lines.readline(_LONGEST):
        line = (line + piece)[-_LONGEST:]
        if line.endswith(b"\n"):
            yield line
            line = b""
    if line:
        yield line


@contextmanager
def running(
    argv: Sequence[str],
    progress: Progress,
    *,
    stdin: int | None = DEVNULL,
    pass_fds: Sequence[int] = (),
    package: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the background with its stdout and stderr in pipes, which ends with the block or with this process.

    `package`: who has the program, for the hint. Raises BuildError when it can't be run.
    """
    process = _start(
        argv, progress, package, stdin=stdin, stdout=PIPE, stderr=PIPE, pass_fds=pass_fds, preexec_fn=_die_with_us()
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        _running.discard(process)


@contextmanager
def afterwards(
    argv: Sequence[str], progress: Progress, *, environ: Mapping[str, str] | None = None
) -> Iterator[Callable[[str], None]]:
    """Runs a cleanup when the block ends, or when this process ends, in whatever way: also by SIGKILL.

    The block names what is to be cleaned up; `argv` runs once with all names behind it, if there are any. Whether it
    succeeds does not matter to the build.
    """
    # xargs, in a session of its own, waits for the end of a pipe that nobody but this process writes to.
    command = ["xargs", "-0", "-r", *argv]
    guard = _start(
        command,
        progress,
        "findutils",
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        env=_pinned(environ),
        start_new_session=True,
    )
    _running.discard(guard)
    assert guard.stdin is not None
    pipe = guard.stdin.fileno()

    def clean_up(name: str) -> None:
        os.write(pipe, os.fsencode(name) + b"\0")

    try:
        yield clean_up
    finally:
        guard.stdin.close()
        if guard.wait() != 0:
            progress.debug(f"{shlex.join(argv)} failed with exit code {guard.returncode}")


def _start(argv: Sequence[str], progress: Progress, package: str | None, **more: Any) -> subprocess.Popen[bytes]:
    progress.debug(f"running: {shlex.join(argv)}")
    try:
        process = subprocess.Popen(argv, **more)
    except FileNotFoundError:
        hint = f"install {package or argv[0]}"
        raise BuildError(f"the program {argv[0]!r} is not installed", hint=hint) from None
    except OSError as error:
        raise BuildError(f"can't run {argv[0]!r}: {error.strerror}") from error
    _running.add(process)
    return process


def _pinned(environ: Mapping[str, str] | None) -> dict[str, str]:
    """The result is the same for every user: only what programs need to find themselves and the user's files."""
    return {**(os.environ if environ is None else environ), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _die_with_us() -> Callable[[], object]:
    """For the child, before it executes the program: one system call, which takes no lock of this process."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def csv_line(*fields: str) -> str:
    """Fields of a flag as docker and buildctl read it, by the rules of CSV: a path may have a comma."""
    import csv
    import io

    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def kill_running() -> None:
    """Kills what is running; for a process that is about to end."""
    for process in tuple(_running):
        process.kill()
