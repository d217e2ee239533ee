"""The one place that runs external programs. Nothing on the default path needs one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from fledge.errors import BuildError
from fledge.progress import Progress


class ProgramError(BuildError):
    """A program ran and failed; some tell why on stdout."""

    def __init__(self, message: str, stdout: bytes) -> None:
        super().__init__(message)
        self.stdout = stdout


_PR_SET_PDEATHSIG: Final = 1

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
    progress.debug(f"running: {shlex.join(argv)}")
    # The result is the same for every user: only what programs need to find themselves and the user's files.
    env = {**(os.environ if environ is None else environ), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, close_fds=True
        )
    except FileNotFoundError:
        hint = f"install {package or argv[0]}"
        raise BuildError(f"the program {argv[0]!r} is not installed", hint=hint) from None
    except OSError as error:
        raise BuildError(f"can't run {argv[0]!r}: {error.strerror}") from error
    _running.add(process)
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


@contextmanager
def running(
    argv: Sequence[str],
    progress: Progress,
    *,
    stdin: int | None = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    package: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the background with its stdout and stderr in pipes, which ends with the block or with this process.

    `package`: who has the program, for the hint. Raises BuildError when it can't be run.
    """
    import ctypes

    progress.debug(f"running: {shlex.join(argv)}")
    prctl = ctypes.CDLL(None).prctl
    try:
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            # One system call, which takes no lock of this process.
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    except FileNotFoundError:
        hint = f"install {package or argv[0]}"
        raise BuildError(f"the program {argv[0]!r} is not installed", hint=hint) from None
    except OSError as error:
        raise BuildError(f"can't run {argv[0]!r}: {error.strerror}") from error
    _running.add(process)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        _running.discard(process)


def kill_running() -> None:
    """Kills what is running; for a process that is about to end."""
    for process in tuple(_running):
        process.kill()
