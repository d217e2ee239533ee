"""Where results are written can fail: a full disk, a reader that went away, no stdout at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.boot.initramfs import archive

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


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_the_summary_is_log(tmp_path: Path, command: str) -> None:
    artifact = tmp_path / "plugin.cpio"
    artifact.write_bytes(archive({"/init": (0o755, b"#!/bin/sh\n")}))
    code, told = run([command, str(artifact)], subprocess.DEVNULL)
    assert code == 0
    assert told.splitlines()[-1].startswith(f"fledge: {artifact}: cpio, 4 inodes, 10 ")
    code, told = run([command, str(artifact), "--log-format", "json"], subprocess.DEVNULL)
    assert code == 0
    assert json.loads(told.splitlines()[-1])["message"].startswith(f"{artifact}: cpio, 4 inodes, 10 ")
    assert run([command, str(artifact), "-q"], subprocess.DEVNULL) == (0, "")


def test_a_path_that_is_not_utf8_is_printed_as_it_is(tmp_path: Path) -> None:
    name = b"\xff.cpio"
    (tmp_path / os.fsdecode(name)).write_bytes(b"no artifact")
    done = subprocess.run(
        [sys.executable, "-m", "fledge.cli.main", "verify", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},  # As in a locale such as en_US.UTF-8.
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith(name + b": structure: expected "), done.stderr
