from __future__ import annotations

from pathlib import Path

import pytest
from fledge.testing.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with the small image and a cold cache of its own."""
    made = Project(tmp_path / "project")
    made.folder.mkdir()
    made.image()
    return made
