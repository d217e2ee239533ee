from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.testing import builders
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.shared import once

VERSION = "v0.20.2"
MAKE = Path(__file__).resolve().parents[3] / "tools" / "go-programs"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of buildkitd and buildctl, which are built where they are not there yet."""
    need_root()
    need_tool("go", "golang")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "fledge-programs" / f"buildkit-{VERSION}"

    def make(_: Path) -> None:
        if not (folder / "buildkitd").exists():
            argv = [MAKE, folder, f"github.com/moby/buildkit@{VERSION}", "cmd/buildctl", "cmd/buildkitd"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"buildkitd can't be built here: {done.stderr[-500:]}")

    if not (folder / "buildkitd").exists() and os.environ.get("CI") != "true":
        pytest.skip(f"{folder} is not there; it is made where CI=true (minutes, from the Go module proxy)")
    with once("buildkit", make):  # By one worker, while the others wait.
        return folder


@pytest.fixture(scope="session")
def environ(programs: Path) -> Iterator[dict[str, str]]:
    """An environment in which buildctl finds a daemon."""
    with (
        tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name,
        builders.buildkitd(Path(name), programs / "buildkitd") as address,
    ):
        yield {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "FLEDGE_BUILDKIT_ADDR": address}
