"""The tree as the writer needs it: inodes numbered, hard links counted, directories by depth."""

from __future__ import annotations

from fledge.errors import BuildError
from fledge.tree.inode import Directory, Inode
from fledge.values import show_path

from fledge_fs_squashfs.format import MAX_NAME


class Folder:
    """A directory. `children` stands beside `names`: the number of an inode, or a folder."""

    __slots__ = ("children", "depth", "inode", "names", "number", "parent", "reference", "subfolders")

    def __init__(self, inode: Directory, parent: Folder | None, depth: int) -> None:
        self.inode = inode
        self.parent = parent
        self.depth = depth
        self.names: list[bytes] = sorted(inode.entries)
        self.children: list[int | Folder] = []
        self.subfolders = 0
        self.number = 0
        self.reference = 0
        """Where its inode stands, once it is written."""


class Inventory:
    """All inodes of a tree.

    `leaves`: whatever is no directory, in the order of a walk with sorted names; the one at index i has inode number
    i + 1 and `links[i]` names. `levels`: the folders by depth; they are numbered behind the leaves, the deepest first,
    because a directory's listing refers to the inodes below it.
    """

    def __init__(self, root: Directory) -> None:
        """Raises BuildError for a name that the format can't hold."""
        self.leaves: list[Inode] = []
        self.links: list[int] = []
        self.levels: list[list[Folder]] = []
        self.root = Folder(root, None, 0)
        self._walk()
        number = len(self.leaves)
        for level in reversed(self.levels):
            for folder in level:
                number += 1
                folder.number = number
        self.count = number

    def _walk(self) -> None:
        leaves, links, levels = self.leaves, self.links, self.levels
        known: dict[int, int] = {}
        stack = [self.root]
        while stack:
            folder = stack.pop()
            if folder.depth == len(levels):
                levels.append([])
            levels[folder.depth].append(folder)
            entries = folder.inode.entries
            children = folder.children
            below = []
            for name in folder.names:
                inode = entries[name]
                if len(name) > MAX_NAME:
                    raise BuildError(
                        f"{path_of(self.root.inode, inode)}: the name has {len(name)} bytes; squashfs holds at most {MAX_NAME}"
                    )
                if isinstance(inode, Directory):
                    child = Folder(inode, folder, folder.depth + 1)
                    below.append(child)
                    children.append(child)
                    continue
                number = known.get(id(inode))
                if number is None:
                    leaves.append(inode)
                    links.append(1)
                    known[id(inode)] = number = len(leaves)
                else:
                    links[number - 1] += 1
                children.append(number)
            folder.subfolders = len(below)
            below.reverse()
            stack += below


def path_of(root: Directory, wanted: Inode) -> str:
    """The first path of an inode, for messages."""
    stack: list[tuple[bytes, Directory]] = [(b"/", root)]
    while stack:
        prefix, folder = stack.pop()
        for name, inode in folder.entries.items():
            if inode is wanted:
                return show_path(prefix + name)
            if isinstance(inode, Directory):
                stack.append((prefix + name + b"/", inode))
    return "/"
