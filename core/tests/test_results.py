"""Where results are written can fail: a full disk, a reader that went away, no stdout at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

COMMANDS = [["version"], ["--help"], ["build", "--help"], ["schema", "fledge"]]
FULL = "fledge: error: can't write to stdout: No space left on device\n"


def run(command: list[str], stdout: int, before: Callable[[], None] | None = None) -> tuple[int, str]:
    """The exit code of a command, and what it writes to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "fledge.cli.main", *command],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        assert run(command, full.fileno()) == (1, FULL)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_went_away_is_not_told(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code, told = run(command, writer)
    finally:
        os.close(writer)
    assert told == ""
    assert code in (0, 1)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_stdout_nothing_fails(command: list[str]) -> None:
    assert run(command, subprocess.DEVNULL, lambda: os.close(1)) == (0, "")
