"""busybox, and a link for each of its applets. The binary is read, never run: it may be for another machine."""

from __future__ import annotations

import re
from typing import Final

from fledge.bootable import DEFAULT_PATH
from fledge.errors import BuildError
from fledge.tree.content import Content
from fledge.tree.inode import File, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath

from fledge_strategy_initramfs.applets import OTHERS, PLACES

SIZE_MAX: Final = 64 << 20
"""Bytes; a busybox with everything has 2 MiB."""

_BUSYBOX: Final = GuestPath.parse("/bin/busybox")
_ASIDE: Final = GuestPath.parse("/.fledge/busybox")
"""Where the image has a busybox of its own, which may have fewer applets."""

_SEARCHED: Final = tuple(GuestPath.parse(folder) for folder in DEFAULT_PATH.split(":"))

# scripts/applet_tables of busybox writes the names one after the other, each with its NUL, sorted by strcmp(); the
# literal that they are has one more NUL.
_NAMES: Final = re.compile(rb"(?:[a-z0-9\[][a-z0-9_.+\[-]{0,30}\0)+\0")
_FEWEST: Final = 3
"""Known names that a table has at least: single ones, such as `[` and `w`, stand in other programs too."""
_KNOWN: Final = frozenset(name.encode() for name in PLACES)


def applet_names(binary: bytes) -> list[str]:
    """The applets of a busybox, sorted. Raises ValueError when the binary has no table of them."""
    best: list[bytes] = []
    most = 0
    for match in _NAMES.finditer(binary):
        names = _sorted_end(match[0].split(b"\0")[:-2])
        known = sum(name in _KNOWN for name in names)
        if known > most:
            best, most = names, known
    # A build may have applets of its own; other tables of words have hardly an applet's name among them.
    if most < _FEWEST or 2 * most < len(best):
        raise ValueError("it has no table of applets")
    return [name.decode() for name in best]


def add_busybox(tree: Tree, content: Content, origin: str) -> int:
    """Puts busybox in, and a link for each applet whose name the image has in no folder of the usual PATH.

    Returns the number of links. Raises BuildError when the file has no applets.
    """
    try:
        names = applet_names(content.read())
    except ValueError as error:
        raise BuildError(
            f"{origin} is no busybox: {error}",
            hint="give another busybox_url, or [initramfs] busybox = false and map what the image needs",
        ) from error
    place = _BUSYBOX if tree.get(_BUSYBOX) is None else _ASIDE
    links = 0
    for name in names:
        path = GuestPath.parse(PLACES.get(name, f"{OTHERS}/{name}"))
        if name != "busybox" and not _has(tree, path):
            tree.insert(path, Symlink(bytes(place), mtime=tree.epoch))
            links += 1
    if links or place == _BUSYBOX:
        tree.insert(place, File(content, 0o755, mtime=tree.epoch))
    return links


def _has(tree: Tree, path: GuestPath) -> bool:
    """Whether the image has the command, be it elsewhere: found first, an applet would stand in for it."""
    return tree.get(path) is not None or any(tree.get(folder / path.name) is not None for folder in _SEARCHED)


def _sorted_end(names: list[bytes]) -> list[bytes]:
    """The longest rising run that ends with the last name: other words may stand right before the table."""
    start = len(names) - 1
    while start > 0 and names[start - 1] < names[start]:
        start -= 1
    return names[start:]
