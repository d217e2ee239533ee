"""The tree as the writer needs it: inodes numbered, names counted, directories listed."""

from __future__ import annotations

from fledge.errors import BuildError
from fledge.tree.inode import Directory, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import show_path

from fledge_fs_erofs.directories import Listing
from fledge_fs_erofs.format import MAX_NAME, MAX_SYMLINK


class Inventory:
    """All inodes of a tree, those of one directory next to each other, the root first.

    `links` stands beside `inodes`: how many names each has, counted as st_nlink does. `listings`: of each directory, by
    its number, which is its index in `inodes`.
    """

    def __init__(self, tree: Tree) -> None:
        """Raises BuildError, with the path, for a name or a target that the format can't hold."""
        self.tree = tree
        self.inodes: list[Inode] = [tree.root]
        self.links: list[int] = [2]
        self.listings: dict[int, Listing] = {}
        self._number()

    def _number(self) -> None:
        inodes, links = self.inodes, self.links
        numbers: dict[Inode, int] = {}
        stack: list[tuple[Directory, int, int]] = [(self.tree.root, 0, 0)]
        while stack:
            folder, own, parent = stack.pop()
            entries = [(b".", own), (b"..", parent)]
            below: list[tuple[Directory, int, int]] = []
            for name, inode in sorted(folder.entries.items()):
                if len(name) > MAX_NAME:
                    raise BuildError(
                        f"{self.tree.path_of(folder)}: the name {show_path(name)[1:]} has {len(name)} bytes; "
                        f"erofs holds at most {MAX_NAME}"
                    )
                number = numbers.get(inode)
                if number is None:
                    number = numbers[inode] = len(inodes)
                    inodes.append(inode)
                    links.append(1)
                    if isinstance(inode, Directory):
                        links[number] = 2
                        below.append((inode, number, own))
                    elif isinstance(inode, Symlink) and len(inode.target) > MAX_SYMLINK:
                        raise BuildError(
                            f"{self.tree.path_of(inode)} points to {len(inode.target)} bytes; "
                            f"an erofs symlink holds {MAX_SYMLINK}"
                        )
                else:
                    links[number] += 1
                entries.append((name, number))
            links[own] += len(below)
            self.listings[own] = Listing(entries)
            stack.extend(reversed(below))
