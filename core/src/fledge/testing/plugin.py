"""The pytest plugin that comes with Fledge: what tests of a driver ask for by name.

Every pytest of an environment with Fledge imports this module, so it imports nothing but pytest before it is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.testing.builds import Log
    from fledge.testing.conformance.packing import Packed
    from fledge.testing.project import Project


@pytest.fixture
def fledge_log() -> Log:
    """A renderer that remembers what `fledge_context` is told."""
    from fledge.testing.builds import Log

    return Log()


@pytest.fixture
def fledge_context(tmp_path: Path, fledge_log: Log) -> BuildContext:
    """What a driver is created with: an own, empty store, two jobs, and nothing from the environment."""
    from fledge.testing.builds import context

    return context(tmp_path / "fledge-cache", fledge_log)


@pytest.fixture
def fledge_project(tmp_path: Path) -> Project:
    """A folder with a small image, in which the installed command runs with a cold cache."""
    from fledge.testing.project import Project

    project = Project(tmp_path / "fledge-project")
    project.folder.mkdir()
    project.image()
    return project


@pytest.fixture(scope="class")
def fledge_packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """The hard tree, packed once for all checks of a FilesystemConformance."""
    packed: Packed = request.cls().pack_hard_tree(tmp_path_factory.mktemp("packed"))
    return packed


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects checks of the kit that a driver can't be asked: nothing is missing that would have to be told."""
    out = [item for item in items if isinstance(item, pytest.Function) and not _applies(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        gone = {id(item) for item in out}
        items[:] = [item for item in items if id(item) not in gone]


def _applies(item: pytest.Function) -> bool:
    applies = getattr(item.function, "fledge_applies", None)
    return applies is None or bool(applies(item.cls))
