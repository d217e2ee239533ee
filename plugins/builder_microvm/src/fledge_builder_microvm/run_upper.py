"""Reads what a step changed out of the upper folder of its overlay.

The kernel's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories", says what stands there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fledge.errors import BuildError
from fledge.progress import Progress
from fledge.tree.inode import NO_XATTRS, CharDevice, Directory, Inode, Socket
from fledge.tree.tree import Tree
from fledge.values import show_path

from fledge_builder_microvm.changes import Change, Opaque, Put, Remove

_PREFIX: Final = b"trusted.overlay."
_OPAQUE: Final = b"trusted.overlay.opaque"


def changes_of(upper: Directory, lower: Directory, progress: Progress) -> Iterator[Change]:
    """What `upper` changes in `lower`, parents first. Its inodes become those of the changes.

    A change of the root's times alone is none: whatever is made in it changes them, and layers of container engines
    have no entry for the root.
    """
    _strip(upper)
    if _identity(upper) != _identity(lower):
        yield Put(b"", upper)
    stripped: set[int] = {id(upper)}
    stack: list[tuple[bytes, Directory, Directory | None]] = [(b"", upper, lower)]
    while stack:
        prefix, folder, below = stack.pop()
        further = []
        for name, inode in sorted(folder.entries.items()):
            path = prefix + name
            beneath = below.entries.get(name) if below is not None else None
            if isinstance(inode, CharDevice) and not inode.major and not inode.minor:
                if beneath is not None:
                    yield Remove(path)
                continue
            if isinstance(inode, Socket):
                # Engines leave it out, too: its server is gone.
                progress.info(f"{show_path(path)} is a socket, which no layer holds")
                if beneath is not None:
                    yield Remove(path)
                continue
            opaque = inode.xattrs.get(_OPAQUE) == b"y"
            if id(inode) not in stripped:
                stripped.add(id(inode))
                _strip(inode)
            yield Put(path, inode)
            if isinstance(inode, Directory):
                hidden = beneath if isinstance(beneath, Directory) else None
                # The kernel marks every new folder; there is something to hide only where the lower one has entries.
                if opaque and hidden is not None:
                    if hidden.entries:
                        yield Opaque(path)
                    hidden = None
                further.append((path + b"/", inode, hidden))
        stack.extend(reversed(further))


def _identity(inode: Inode) -> tuple[object, ...]:
    return inode.mode, inode.uid, inode.gid, inode.xattrs


def _strip(inode: Inode) -> None:
    """Takes away what the overlay noted for itself."""
    if inode.xattrs:
        inode.xattrs = {
            name: value for name, value in inode.xattrs.items() if not name.startswith(_PREFIX)
        } or NO_XATTRS


def read_scratch(image: Path) -> Tree:
    """The filesystem of a scratch disk. Raises BuildError when it is damaged or was not unmounted."""
    from fledge_fs_ext4.reader import read_tree
    from fledge_fs_ext4.volume import Volume

    if not Volume(image).clean:
        raise BuildError("the machine ended before its disk was unmounted: nothing of what the step did is kept")
    return read_tree(image)
