"""Builds the guest init for every architecture, as part of the wheel and of an editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import ziglang
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGETS: Final = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}

# musl's headers and the kernel's, as ziglang brings them; the library itself is not linked (src/init/system.c).
INCLUDES: Final = {
    "amd64": ("x86_64-linux-musl", "generic-musl", "x86-linux-any", "any-linux-any"),
    "arm64": ("aarch64-linux-musl", "generic-musl", "aarch64-linux-any", "any-linux-any"),
}

FLAGS: Final = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Os",
    "-static",
    "-nostdlib",
    # string.c implements what the compiler would otherwise turn its loops into.
    "-fno-builtin",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-s",
)


def compile_init(sources: Path, architecture: str, output: Path) -> None:
    """Compiles and links the init for `architecture` ("amd64" or "arm64") to `output`; the same bytes each time."""
    headers = Path(ziglang.__file__).parent / "lib" / "libc" / "include"
    includes = [word for name in INCLUDES[architecture] for word in ("-isystem", os.fspath(headers / name))]
    # Relative names, so that nothing of this machine gets into the binary.
    files = sorted(path.name for path in sources.glob("*.c"))
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[architecture]]
    with tempfile.TemporaryDirectory() as cache:
        subprocess.run(
            [*compiler, *FLAGS, *includes, "-o", os.fspath(output.absolute()), *files],
            cwd=sources,
            check=True,
            env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
        )
    output.chmod(0o755)


class GuestInit(BuildHookInterface[Any]):
    """Puts `bin/init-<architecture>` into the package."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs for both kinds of wheel, "standard" and "editable"; a source distribution takes the C files."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        folder = root / "src" / "fledge_guest" / "bin"
        folder.mkdir(exist_ok=True)
        for architecture in TARGETS:
            compile_init(root / "src" / "init", architecture, folder / f"init-{architecture}")
