"""Reads an artifact back, with the driver of whichever filesystem it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from fledge import drivers
from fledge.errors import BuildError

if TYPE_CHECKING:
    from fledge.kinds import Filesystem
    from fledge.tree.tree import Tree

HEAD: Final = 128 << 10
"""How much of a file a driver sees to recognize it: btrfs keeps its superblock at 64 KiB."""


def read_artifact(path: Path) -> tuple[str, Tree]:
    """The filesystem's name and the tree. Raises BuildError when the file can't be read or no driver knows it."""
    name, driver, _ = recognize(path)
    return name, driver.read_tree(path)


def recognize(path: Path) -> tuple[str, type[Filesystem], bytes]:
    """The filesystem's name, its driver, and the file's head. Raises BuildError as read_artifact."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
    known = drivers.names("filesystem")
    for name in known:
        try:
            driver = cast("type[Filesystem]", drivers.load("filesystem", name))
        except BuildError:
            continue  # A broken plugin harms nobody who does not name it; `fledge plugins` tells of it.
        if driver.recognizes(head):
            return name, driver, head
    raise BuildError(
        f"{path} is not an artifact that an installed filesystem knows ({', '.join(known) or 'none installed'})"
    )
