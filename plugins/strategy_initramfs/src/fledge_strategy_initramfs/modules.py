"""Kernel modules that the guest init loads before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fledge.elf import check_program
from fledge.errors import BuildError
from fledge.kernel_modules import SUFFIXES, KernelModules
from fledge.tree.content import Content
from fledge.tree.inode import File
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform
from fledge_guest import MODULES_PATH, render_modules

_ROOT: Final = "/lib/modules"


def add_modules(tree: Tree, folder: Path, names: Sequence[str], platform: Platform) -> list[str]:
    """Puts the modules and what they need under /lib/modules/<release>, as plain .ko, and the list for the init.

    `folder`: the kernel's; its name is the release. Returns the names in the order in which they are loaded. Raises
    BuildError for a name that the kernel does not have and for a module of another architecture.
    """
    loaded = KernelModules(folder).closure(names)
    paths = []
    for module in loaded:
        content = Content.of(module.read())
        check_program(content, platform, f"the kernel module {module.path}")
        path = f"{_ROOT}/{folder.resolve().name}/{_plain(module.path.relative_to(folder).as_posix())}"
        tree.insert(GuestPath.parse(path), File(content, 0o644, mtime=tree.epoch))
        paths.append(path)
    try:
        listed = render_modules(paths)
    except ValueError as error:
        raise BuildError(f"the kernel modules of {folder} can't be listed for the init: {error}") from error
    tree.insert(GuestPath.parse(MODULES_PATH), File(Content.of(listed), 0o644, mtime=tree.epoch))
    return [module.name for module in loaded]


def _plain(path: str) -> str:
    for suffix in SUFFIXES:
        if path.endswith(suffix):
            return path.removesuffix(suffix) + ".ko"
    return path
