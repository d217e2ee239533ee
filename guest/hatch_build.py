"""Builds the guest init for every architecture, as part of the wheel and of an editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGETS: Final = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}

FLAGS: Final = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Os",
    "-static",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    # Nothing of the machine that builds may be in the binary: the wheel is the same everywhere.
    "-ffile-prefix-map=.=.",
    "-s",
)


def compile_init(sources: Path, architecture: str, output: Path) -> None:
    """Compiles and links the init for `architecture` ("amd64" or "arm64") to `output`."""
    with tempfile.TemporaryDirectory() as cache:
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[architecture], *FLAGS]
            + ["-o", os.fspath(output.absolute()), *sorted(path.name for path in sources.glob("*.c"))],
            cwd=sources,
            check=True,
            env={**os.environ, "ZIG_LOCAL_CACHE_DIR": cache},
        )
    output.chmod(0o755)


class GuestInit(BuildHookInterface[Any]):
    """Puts `bin/init-<architecture>` into the package."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs for both kinds of wheel: "standard" and "editable"."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        folder = root / "src" / "fledge_guest" / "bin"
        folder.mkdir(exist_ok=True)
        with ThreadPoolExecutor() as pool:
            builds = [
                pool.submit(compile_init, root / "src" / "init", name, folder / f"init-{name}") for name in TARGETS
            ]
            for build in builds:
                build.result()
