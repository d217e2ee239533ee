"""What stands on the command line of a direct build -> the keys of [source]."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fledge.cli.direct import source_of
from fledge.errors import UsageError
from fledge.testing.venvs import as_nobody

FLAGS: dict[str, Any] = {
    "dockerfile": None,
    "context": None,
    "target": None,
    "build_arg": (),
    "builder": None,
    "secret": (),
    "no_cache": False,
}


def source(what: str) -> dict[str, Any] | None:
    return source_of(what, FLAGS, {})


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def test_a_folder_that_the_user_may_not_enter() -> None:
    Path("closed").mkdir()
    Path("closed/Dockerfile").touch()
    Path("closed").chmod(0)
    with as_nobody():
        with pytest.raises(UsageError, match="the folder closed has no Dockerfile"):
            source("closed")
        with pytest.raises(UsageError, match=r"^\./closed/Dockerfile is not there; expected a Dockerfile"):
            source("./closed/Dockerfile")


def test_nothing_is_not_this_folder() -> None:
    Path("Dockerfile").touch()
    with pytest.raises(UsageError, match="what to build is empty; expected a Dockerfile, its folder, or an image"):
        source("")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["./Dockerfile", "--agent", "none"],
            "\n  hint: ./Dockerfile is taken for where the artifact goes; name what to build before the flag",
        ),
        (["--agent", "none"], ""),
    ],
)
def test_a_flag_that_takes_what_was_to_be_built(arguments: list[str], said: str) -> None:
    Path("Dockerfile").touch()
    argv = [sys.executable, "-m", "fledge.cli.main", "build", "--output-initramfs", *arguments]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    error = "fledge: error: --output-initramfs goes with a direct build; with fledge.toml, its own keys say that"
    assert done.stderr == f"{error}{said}\n"


@pytest.mark.parametrize("what", ["a" * 300, "a\0b"])
def test_what_no_file_can_be_called_is_an_image(what: str) -> None:
    assert source(what) == {"image": what}
