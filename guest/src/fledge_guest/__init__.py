"""Fledge's guest init: its binaries, and the files through which it is told what to do (README.md has the formats)."""

from __future__ import annotations

from importlib import resources
from typing import Final, Literal

from fledge_guest.console import Event, parse_event
from fledge_guest.step import Step, StepMount
from fledge_guest.workload import Workload, parse_user, render_modules, stop_signal

__all__ = [
    "AGENT_PATH",
    "INITRAMFS_INIT_PATH",
    "INIT_PATH",
    "MODULES_PATH",
    "ROOT_WORKLOAD_PATH",
    "STEP_PATH",
    "STEP_STATUS",
    "WORKLOAD_PATH",
    "Architecture",
    "Event",
    "Step",
    "StepMount",
    "Workload",
    "init_binary",
    "parse_event",
    "parse_user",
    "render_modules",
    "stop_signal",
]

Architecture = Literal["amd64", "arm64"]

INITRAMFS_INIT_PATH: Final = "/init"
"""Where the kernel looks for process 1 in an initramfs."""

INIT_PATH: Final = "/.fledge/init"
"""The init of a disk image: `init=/.fledge/init` on the kernel command line, and what a boot initramfs hands over to."""

WORKLOAD_PATH: Final = "/.fledge/workload"
"""What runs in the filesystem that holds this file; `Workload.render` writes it."""

ROOT_WORKLOAD_PATH: Final = "/.fledge/root-workload"
"""Only in a boot initramfs: what runs in the disk that `root=` names, in place of the disk's own description."""

STEP_PATH: Final = "/.fledge/step"
"""Only in a boot initramfs: a step of a build, which changes a copy of the disk that `root=` names; `Step.render`
writes it."""

STEP_STATUS: Final = "status"
"""The file at the root of the scratch disk that says `exited NUMBER` or `killed NUMBER`, once the step has ended."""

MODULES_PATH: Final = "/.fledge/modules"
"""The kernel modules to load; `render_modules` writes it."""

AGENT_PATH: Final = "/bin/kestrel"
"""What an initramfs without a description hands over to."""


def init_binary(architecture: Architecture) -> bytes:
    """The init as a static ELF program, under 64 KB. Raises ValueError for an architecture that it is not built for."""
    binary = resources.files(__name__) / "bin" / f"init-{architecture}"
    if "/" in architecture or not binary.is_file():
        raise ValueError(f"no guest init for architecture {architecture!r}; there are: amd64, arm64")
    return binary.read_bytes()
