"""What every test of the workspace runs with."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from fledge.testing.oracles import need_root
from fledge.testing.shared import once

MAKE_IMAGES = Path(__file__).resolve().parent.parent / "shared" / "tools" / "make-images"


def pytest_configure() -> None:
    """Puts signals back that a shell in the background or nohup ignores: processes of the tests inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def nginx() -> Path:
    """A layout of Debian with nginx, 6,600 files, made where it is not there yet."""
    need_root()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    layout = Path(os.environ.get("IMAGES") or cache / "fledge-images") / "nginx"

    def make(_: Path) -> None:
        if not (layout / "index.json").exists():
            subprocess.run([MAKE_IMAGES, "nginx"], check=True)

    if not (layout / "index.json").exists() and (os.environ.get("CI") != "true" or not MAKE_IMAGES.exists()):
        pytest.skip(f"{layout} is not there; it is made where CI=true (a minute, Debian's packages)")
    with once("nginx", make):  # By one worker, while the others wait.
        return layout
