"""What every test of the workspace runs with."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from fledge.testing.oracles import USER_CACHE, need_root


def pytest_configure() -> None:
    """Puts signals back that a shell in the background or nohup ignores: processes of the tests inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def nginx() -> Path:
    """A layout of Debian with nginx, 6,600 files."""
    need_root()
    layout = Path(os.environ.get("IMAGES") or USER_CACHE / "fledge-images") / "nginx"
    if not (layout / "index.json").exists():
        pytest.skip(f"{layout} is not there (tools/test-material)")
    return layout
