from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fledge.testing.oracles import need_root
from fledge.testing.project import Project

MAKE_IMAGES = Path(__file__).resolve().parents[2] / "shared" / "tools" / "make-images"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with the small image and a cold cache of its own."""
    made = Project(tmp_path / "project")
    made.folder.mkdir()
    made.image()
    return made


@pytest.fixture(scope="session")
def nginx() -> Path:
    """A layout of Debian with nginx, 6,600 files, made where it is not there yet."""
    need_root()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    layout = Path(os.environ.get("IMAGES") or cache / "fledge-images") / "nginx"
    if not (layout / "index.json").exists():
        if os.environ.get("CI") != "true" or not MAKE_IMAGES.exists():
            pytest.skip(f"{layout} is not there; it is made where CI=true (a minute, Debian's packages)")
        subprocess.run([MAKE_IMAGES, "nginx"], check=True)
    return layout
