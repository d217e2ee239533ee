"""RUN steps in real machines."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fledge.testing.boots import busybox, need_kernel, need_qemu
from fledge.testing.builds import Log, context
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File, Symlink
from fledge.tree.tree import Tree
from fledge.values import Platform
from fledge_builder_microvm.changes import Change
from fledge_builder_microvm.runner import MicrovmRunner
from fledge_builder_microvm.steps import RunStep


class Steps:
    """Runs commands on a tree, each in a machine of its own; `lines` is what the last one printed."""

    def __init__(self, folder: Path) -> None:
        need_qemu()
        self.environ = {
            "FLEDGE_KERNEL_BZIMAGE": str(need_kernel()),
            "FLEDGE_ACCEL": "tcg",
            "FLEDGE_BUILD_MEMORY_MB": "512",
        }
        self.log = Log()
        self.context = context(folder, self.log, self.environ)
        self.lines: list[str] = []
        self.runner = MicrovmRunner(self.context, Platform("linux", "amd64"), self.lines.append)

    def run(self, tree: Tree, *argv: str, **fields: Any) -> list[Change]:
        """The step's changes. `fields`: of RunStep."""
        self.lines.clear()
        step = RunStep(argv, **{"environ": {"PATH": "/bin"}, "workdir": "/", "user": "", **fields})
        return list(self.runner.run(step, tree))


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    """Machines with an own store."""
    return Steps(tmp_path / "store")


@pytest.fixture
def shell_tree() -> Callable[[], Tree]:
    """Makes a root with nothing but busybox in /bin: no /etc, no /proc, no mount points."""

    def make() -> Tree:
        program = busybox()
        tree = Tree(Directory(0o755))
        folder = tree.root.entries[b"bin"] = Directory(0o755)
        folder.entries[b"busybox"] = File(Content.of(program), 0o755)
        listed = subprocess.run(["busybox", "--list"], capture_output=True, check=True).stdout
        for name in listed.split():
            folder.entries.setdefault(name, Symlink(b"busybox"))
        return tree

    return make
