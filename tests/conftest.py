from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.testing.project import Project
from fledge.testing.shared import once
from fledge.testing.venvs import Venv, build_wheels

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with the small image and a cold cache of its own."""
    made = Project(tmp_path / "project")
    made.folder.mkdir()
    made.image()
    return made


@pytest.fixture(scope="session")
def wheels() -> Iterator[Path]:
    """A folder with a wheel of every distribution of the workspace."""
    with once("wheels", lambda folder: build_wheels(ROOT, folder)) as folder:
        yield folder


@pytest.fixture(scope="session")
def installed(wheels: Path) -> Iterator[Venv]:
    """`fledge[all]` in an environment that every user can run."""

    def make(folder: Path) -> None:
        Venv(ROOT, folder / "venv").install(wheels, "fledge[all]")

    with once("venv", make) as folder:
        yield Venv(ROOT, folder / "venv")


@pytest.fixture
def public() -> Iterator[Path]:
    """A temporary folder that every user can enter; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="fledge-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
