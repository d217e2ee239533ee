"""The tree: a root directory, and path look-ups that never leave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fledge.errors import BuildError
from fledge.image.config import ImageConfig
from fledge.tree.inode import Directory, Inode, Symlink
from fledge.values import GuestPath, show_path

MAX_SYMLINKS = 40
"""As many as Linux follows in one look-up before ELOOP (include/linux/namei.h, MAXSYMLINKS)."""


@dataclass(slots=True)
class Tree:
    """What an artifact will hold. `epoch`: the mtime (ns) of what no layer lists and of all that Fledge adds."""

    root: Directory
    epoch: int = 0
    image: ImageConfig | None = None
    """The config of the image that the tree came from, if it came from one."""
    origin: str | None = field(default=None)
    """The image reference, for messages."""

    def get(self, path: GuestPath) -> Inode | None:
        """The inode at `path`, its symlinks followed except for the last component's; None where there is none."""
        try:
            real = self.resolve(path, follow_last=False)
        except BuildError:
            return None
        return self.at(real)

    def at(self, path: GuestPath) -> Inode | None:
        """The inode at a path that has no symlinks on its way; None where there is none."""
        inode: Inode | None = self.root
        for part in path.parts:
            inode = inode.entries.get(part) if isinstance(inode, Directory) else None
        return inode

    def resolve(self, path: GuestPath, *, follow_last: bool = True) -> GuestPath:
        """`path` with every symlink on the way resolved inside the image, as a chroot would.

        `..` in a target stops at the root, absolute targets start there. Components past the first one that
        does not exist are taken as they stand.

        Raises BuildError when more than 40 symlinks are crossed or the way leads through something that is
        neither directory nor symlink.
        """
        todo = list(reversed(path.parts))
        done: list[bytes] = []
        inodes: list[Inode | None] = [self.root]
        crossed = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                if done:
                    done.pop()
                    inodes.pop()
                continue
            here = inodes[-1]
            if here is not None and not isinstance(here, Directory):
                raise BuildError(f"{show_path(b'/'.join(done))} is in the way of {path}: it is not a directory")
            inode = here.entries.get(part) if here is not None else None
            if isinstance(inode, Symlink) and (todo or follow_last):
                crossed += 1
                if crossed > MAX_SYMLINKS:
                    raise BuildError(f"{path} crosses more than {MAX_SYMLINKS} symlinks inside the image")
                if inode.target.startswith(b"/"):
                    done, inodes = [], [self.root]
                todo.extend(reversed([p for p in inode.target.split(b"/") if p not in (b"", b".")]))
                continue
            done.append(part)
            inodes.append(inode)
        return GuestPath(tuple(done))

    def insert(self, path: GuestPath, inode: Inode) -> GuestPath:
        """Puts `inode` at `path`, resolved inside the image, and makes the parents that are missing (0755, 0:0).

        What stood there is replaced; a directory over a directory keeps the entries and takes the new metadata.
        Returns where it went. Raises BuildError where something else than a directory is in the way, or when
        another kind of inode would replace a directory that is not empty.
        """
        parent = self.resolve(GuestPath(path.parts[:-1]))
        folder = self.directory(parent)
        old = folder.entries.get(path.name)
        if isinstance(old, Directory):
            if isinstance(inode, Directory):
                inode.entries = {**old.entries, **inode.entries}
            elif old.entries:
                raise BuildError(f"{parent / path.name} is a directory that is not empty; a file can't replace it")
        folder.entries[path.name] = inode
        return parent / path.name

    def directory(self, path: GuestPath) -> Directory:
        """The directory at `path`, which has no symlinks on its way; it and its parents are made where missing."""
        folder = self.root
        for depth, part in enumerate(path.parts):
            inode = folder.entries.get(part)
            if inode is None:
                inode = folder.entries[part] = Directory(0o755, mtime=self.epoch)
            if not isinstance(inode, Directory):
                raise BuildError(f"{GuestPath(path.parts[: depth + 1])} is in the way: it is not a directory")
            folder = inode
        return folder

    def walk(self) -> Iterator[tuple[bytes, Inode]]:
        """Every name with its inode, parents first, names sorted as bytes; the root is b"" and the rest are relative."""
        yield b"", self.root
        stack: list[tuple[bytes, Directory]] = [(b"", self.root)]
        while stack:
            prefix, folder = stack.pop()
            below = []
            for name, inode in sorted(folder.entries.items()):
                path = prefix + name
                yield path, inode
                if isinstance(inode, Directory):
                    below.append((path + b"/", inode))
            stack.extend(reversed(below))

    def path_of(self, wanted: Inode) -> str:
        """The first path of an inode of this tree, for messages."""
        return next(show_path(path) for path, inode in self.walk() if inode is wanted)
