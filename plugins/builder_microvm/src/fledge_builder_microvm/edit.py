"""A tree that a step changes, and the changes."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.errors import BuildError
from fledge.tree.inode import Directory, Inode
from fledge.tree.tree import Tree
from fledge.values import GuestPath, show_path

from fledge_builder_microvm.changes import Change, Opaque, Put


class Folder:
    """A directory of the tree, and where it stands."""

    __slots__ = ("directory", "prefix")

    def __init__(self, directory: Directory, path: bytes) -> None:
        """`path`: relative to the root and without symlinks on its way; b"" is the root."""
        self.directory = directory
        self.prefix = path + b"/" if path else b""
        """What stands before a name for the path of an entry."""


class Edit:
    """Puts inodes into a tree and remembers where."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._puts: dict[bytes, Inode] = {}
        self._replaced: set[bytes] = set()
        """Where a directory stood."""

    def changes(self) -> Sequence[Change]:
        """What was put."""
        changes: list[Change] = []
        for path, inode in self._puts.items():
            changes.append(Put(path, inode))
            if path in self._replaced and isinstance(inode, Directory):
                changes.append(Opaque(path))
        return changes

    def folder(self, path: GuestPath) -> Folder:
        """The directory at a path that has no symlinks on its way. Raises BuildError where something else stands there."""
        directory = self.tree.at(path)
        if not isinstance(directory, Directory):
            raise BuildError(f"{path} is not a directory")
        return Folder(directory, b"/".join(path.parts))

    def put(self, folder: Folder, name: bytes, inode: Inode) -> None:
        """Puts `inode` into a folder, over whatever has that name."""
        path = folder.prefix + name
        entries = folder.directory.entries
        if isinstance(entries.get(name), Directory):
            self._replaced.add(path)
            for below in [known for known in self._puts if known.startswith(path + b"/")]:
                del self._puts[below]
        entries[name] = inode
        self._puts[path] = inode

    def enter(self, folder: Folder, name: bytes) -> Folder:
        """A folder in `folder`, whose metadata the caller sets; made where there is none.

        Raises BuildError where something else stands there.
        """
        path = folder.prefix + name
        directory = folder.directory.entries.get(name)
        if directory is None:
            self.put(folder, name, directory := Directory(0))
        if not isinstance(directory, Directory):
            raise not_a_directory(GuestPath(tuple(path.split(b"/"))))
        self._puts[path] = directory
        return Folder(directory, path)

    def make_folders(self, path: GuestPath, uid: int = 0, gid: int = 0) -> Folder:
        """The directory at `path`, symlinks resolved; what is missing is made, 0755 and of this owner.

        Raises BuildError where something that is not a directory is in the way.
        """
        folder = Folder(self.tree.root, b"")
        for name in self.tree.resolve(path).parts:
            inode = folder.directory.entries.get(name)
            if inode is None:
                self.put(folder, name, inode := Directory(0o755, uid, gid, self.tree.epoch))
            elif not isinstance(inode, Directory):
                raise BuildError(f"{show_path(folder.prefix + name)} is not a directory")
            folder = Folder(inode, folder.prefix + name)
        return folder


def not_a_directory(path: GuestPath) -> BuildError:
    """The error for a directory that is to be copied over something else."""
    return BuildError(
        f"{path} is there already and not a directory; a directory can't be copied over it",
        hint="where it is a symlink, copy to what it points to",
    )
