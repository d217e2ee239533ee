"""What a test boots with."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest

from fledge.testing.oracles import need_tool


def need_kernel() -> Path:
    """Debian's kernel for virtual machines, with its modules; everything of virtio, squashfs and overlayfs is one."""
    if platform.machine() != "x86_64":
        pytest.skip("the kernel that boots is x86_64's")
    found = [
        kernel
        for kernel in Path("/boot").glob("vmlinuz-*-cloud-amd64")
        if (Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-") / "modules.dep").is_file()
    ]
    if not found:
        pytest.skip("no kernel for virtual machines (apt-get install linux-image-cloud-amd64)")
    newest = max(found, key=lambda kernel: [int(number) for number in re.findall("[0-9]+", kernel.name)])
    if not os.access(newest, os.R_OK):
        pytest.skip(f"{newest} can't be read (root)")
    return newest


def need_qemu() -> str:
    """The program that emulates machines; skips the test where it is not here."""
    return need_tool("qemu-system-x86_64", "qemu-system-x86")


def busybox() -> bytes:
    """A static program that has a shell and a web server in it."""
    return Path(need_tool("busybox", "busybox-static")).read_bytes()
