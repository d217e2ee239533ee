"""What a format may be unable to hold: by its nature (`TRAITS`), and by its numbers (`Limit`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from fledge.testing.trees import hard_tree, sparse
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.tree import Tree

Trait = Callable[[bytes, Inode, bool], bool]
"""Whether an entry has it: its name, its inode, and whether the inode has had a name before."""


def _has_acl(inode: Inode) -> bool:
    return any(name.startswith(b"system.posix_acl_") for name in inode.xattrs)


def _is_odd(name: bytes) -> bool:
    try:
        return not name.decode().isprintable()
    except UnicodeDecodeError:
        return True


TRAITS: Final[Mapping[str, Trait]] = {
    "symlinks": lambda name, inode, again: isinstance(inode, Symlink),
    "symlinks above 1023 bytes": lambda name, inode, again: isinstance(inode, Symlink) and len(inode.target) > 1023,
    "hard links": lambda name, inode, again: again,
    "devices": lambda name, inode, again: isinstance(inode, Device),
    "device majors above 511": lambda name, inode, again: isinstance(inode, Device) and inode.major > 511,
    "fifos": lambda name, inode, again: isinstance(inode, Fifo),
    "sockets": lambda name, inode, again: isinstance(inode, Socket),
    "xattrs": lambda name, inode, again: bool(inode.xattrs),
    "acls": lambda name, inode, again: _has_acl(inode),
    "capabilities": lambda name, inode, again: b"security.capability" in inode.xattrs,
    "owners above 65535": lambda name, inode, again: max(inode.uid, inode.gid) > 65_535,
    "odd names": lambda name, inode, again: _is_odd(name),
}
"""Each has at least one entry in the hard tree."""


def able_tree(block: int, lacks: Collection[str]) -> Tree:
    """The hard tree without what a format lacks (names of `TRAITS`); sizes are around `block`."""
    tree = hard_tree(block=block)
    _strip(tree.root, [TRAITS[trait] for trait in lacks], set())
    return tree


def unable_tree(trait: str) -> tuple[Tree, list[bytes]]:
    """A small tree with one thing that has a trait, and its paths: a hard link is one for all of them."""
    seen: set[int] = set()
    names: dict[int, list[bytes]] = {}
    for path, inode in hard_tree().walk():
        names.setdefault(id(inode), []).append(path)
        if TRAITS[trait](path.rpartition(b"/")[2], inode, id(inode) in seen):
            break
        seen.add(id(inode))
    tree = Tree(Directory(0o755))
    folder = tree.root.entries[b"folder"] = Directory(0o755)
    # A directory's own trait is its xattrs: what is below it does not belong here.
    alone = Directory(inode.mode, inode.uid, inode.gid, inode.mtime, inode.xattrs)
    paths = [b"folder/" + each.rpartition(b"/")[2] for each in names[id(inode)]]
    for each in paths:
        folder.entries[each[7:]] = alone if isinstance(inode, Directory) else inode
    return tree, paths


def _strip(folder: Directory, lacks: list[Trait], seen: set[int]) -> None:
    for name in sorted(folder.entries):
        inode = folder.entries[name]
        if any(trait(name, inode, id(inode) in seen) for trait in lacks):
            del folder.entries[name]
        elif isinstance(inode, Directory):
            _strip(inode, lacks, seen)
        seen.add(id(inode))


@dataclass(frozen=True)
class Limit:
    """How much of something a format holds: `most` is packed and read back, one more is an error with the path."""

    what: str
    make: Callable[[int], tuple[Tree, bytes | None]]
    """A tree with so many, and the path (or the beginning of it) that the error names; None: it names `most` instead."""
    most: int
    fits: bool = True
    """False: `most` is too large to try."""


def _alone(inode: Inode) -> tuple[Tree, bytes]:
    tree = Tree(Directory(0o755))
    folder = tree.root.entries[b"folder"] = Directory(0o755)
    folder.entries[b"inode"] = inode
    return tree, b"folder/inode"


def name_of(length: int) -> tuple[Tree, bytes]:
    """A name of so many bytes."""
    tree, _ = _alone(File(EMPTY, 0o644))
    tree.root.entries[b"folder"].entries = {b"n" * length: File(EMPTY, 0o644)}  # type: ignore[attr-defined]
    return tree, b"folder"


def symlink_of(length: int) -> tuple[Tree, bytes]:
    """A symlink to so many bytes."""
    return _alone(Symlink((b"0123456789/" * (length // 11 + 1))[:length]))


def file_of(size: int) -> tuple[Tree, bytes]:
    """A file of so many bytes, nearly all of it a hole."""
    return _alone(File(sparse(size, (0, b"first"), (size - 5, b"last.")), 0o644))


def links_of(count: int) -> tuple[Tree, bytes]:
    """A file with so many names."""
    shared = File(Content.of(b"shared"), 0o644)
    tree = Tree(Directory(0o755))
    tree.root.entries = {b"name-%07d" % i: shared for i in range(count)}
    return tree, b"name-"


def owners_of(count: int) -> tuple[Tree, None]:
    """Files of so many users, root among them. They are too many together: none of them is the one to blame."""
    tree = Tree(Directory(0o755))
    tree.root.entries = {b"of-%07d" % i: File(EMPTY, 0o644, i, 0) for i in range(count)}
    return tree, None


def xattr_of(size: int) -> tuple[Tree, bytes]:
    """An xattr with a value of so many bytes."""
    return _alone(File(EMPTY, 0o644, xattrs={b"user.large": bytes(i * 7 % 251 for i in range(size))}))


NAME: Final = Limit("bytes in a name", name_of, 255)
"""The kernel's, whatever a format could hold (NAME_MAX of limits.h)."""
