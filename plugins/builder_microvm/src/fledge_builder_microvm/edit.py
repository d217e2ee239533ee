"""A tree that a step changes, and the changes."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.errors import BuildError
from fledge.tree.inode import Directory, Inode
from fledge.tree.tree import Tree
from fledge.values import GuestPath

from fledge_builder_microvm.changes import Change, Opaque, Put


class Edit:
    """Puts inodes into a tree and remembers where. Paths are resolved: no symlinks on the way."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._puts: dict[tuple[bytes, ...], Inode] = {}
        self._replaced: set[tuple[bytes, ...]] = set()
        """Where a directory stood."""

    def changes(self) -> Sequence[Change]:
        """What was put, parents first."""
        changes: list[Change] = []
        for parts, inode in sorted(self._puts.items(), key=lambda put: put[0]):
            path = b"/".join(parts)
            changes.append(Put(path, inode))
            if parts in self._replaced and isinstance(inode, Directory):
                changes.append(Opaque(path))
        return changes

    def at(self, parts: Sequence[bytes]) -> Inode | None:
        """What stands at a path."""
        inode: Inode | None = self.tree.root
        for part in parts:
            inode = inode.entries.get(part) if isinstance(inode, Directory) else None
        return inode

    def put(self, parts: tuple[bytes, ...], inode: Inode) -> None:
        """Puts `inode` at a path whose parent is there, over whatever stands there."""
        parent = self.at(parts[:-1])
        assert isinstance(parent, Directory)
        if isinstance(parent.entries.get(parts[-1]), Directory):
            self._replaced.add(parts)
            for below in [known for known in self._puts if known[: len(parts)] == parts]:
                del self._puts[below]
        parent.entries[parts[-1]] = inode
        self._puts[parts] = inode

    def touch(self, parts: tuple[bytes, ...], directory: Directory) -> None:
        """Notes that the metadata of a directory of the tree were changed."""
        self._puts[parts] = directory

    def make_directories(self, path: GuestPath, uid: int = 0, gid: int = 0) -> tuple[bytes, ...]:
        """The directory at `path`, symlinks resolved; what is missing is made, 0755 and of this owner.

        Raises BuildError where something that is not a directory is in the way.
        """
        real = self.tree.resolve(path).parts
        for depth in range(1, len(real) + 1):
            parts = real[:depth]
            inode = self.at(parts)
            if inode is None:
                self.put(parts, Directory(0o755, uid, gid, self.tree.epoch))
            elif not isinstance(inode, Directory):
                raise BuildError(f"{GuestPath(parts)} is not a directory")
        return real
