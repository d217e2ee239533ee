"""Layers applied on top of each other (OCI image-spec layer.md, "Applying Changesets").

Two passes a layer. First its whiteouts, on the tree that the layers below made: "whiteout files MUST only apply to
resources in lower/parent layers", wherever in the tar they stand. Then its entries, in the tar's order.

A parent that is a symlink of the image is followed inside the image, as umoci and Docker do: an entry `bin/sh` goes
into `usr/bin` where a layer below has `bin -> usr/bin`, and nothing can lead out of the root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from fledge.errors import BuildError
from fledge.tree import index as ix
from fledge.tree.content import EMPTY, Content, Piece
from fledge.tree.inode import BlockDevice, CharDevice, Directory, Fifo, File, Inode, Symlink
from fledge.tree.layer import Layer
from fledge.tree.tar_names import WHITEOUT
from fledge.tree.tree import MAX_SYMLINKS
from fledge.values import PATH_MAX, show_path

OPAQUE: Final = b".wh..wh..opq"
AUFS: Final = b".wh..wh."
"""What AUFS keeps for itself in a layer's root. `.wh..wh.plnk` can hold the files that hard links refer to."""

_MINOR: Final = (1 << ix.MINOR_BITS) - 1


def merge(layers: Sequence[Layer], epoch: int) -> Directory:
    """The root of what `layers`, lowest first, make. `epoch`: mtime (ns) of directories that no layer lists (0755, 0:0).

    Raises BuildError, with the layer and the entry, for an invalid whiteout, a hard link without its target, a root
    that is not a directory, and a path that leads through something that is not one.
    """
    root = Directory(0o755, mtime=epoch)
    for layer in layers:
        apply_layer(layer, root, epoch)
    return root


def apply_layer(layer: Layer, root: Directory, epoch: int) -> None:
    """Changes the tree under `root` to what it is with one more layer on it. Raises as `merge` does."""
    merger = _Merger(layer, root, epoch)
    merger.apply_whiteouts()
    merger.apply_entries()


class _Merger:
    """Applies one layer to the tree under `root`."""

    def __init__(self, layer: Layer, root: Directory, epoch: int) -> None:
        self._layer = layer
        self._root = root
        self._epoch = epoch
        self._directories: frozenset[bytes] | None = None
        # Parents, by the paths that entries give, with how long a name may be there. Whoever replaces a directory or
        # symlink empties it: the same path may lead elsewhere then.
        self._parents: dict[bytes, tuple[Directory, int]] = {}

    def apply_whiteouts(self) -> None:
        """Hides what the layer's markers name in the layers below."""
        # All are looked up before any is applied: the symlink on the way to one may be what another hides.
        hidden: list[tuple[Directory, bytes]] = []
        parents: dict[bytes, Directory | None] = {}
        for path in self._layer.index.paths:
            if WHITEOUT not in path or not _is_marker(path):
                continue
            parent, _, marker = path.rpartition(b"/")
            if marker[len(WHITEOUT) :] in (b"", b".", b".."):
                self._fail(path, "a whiteout that names nothing to hide")
            if parent not in parents:
                found = self._resolve(path, parent, hiding=True)
                parents[parent] = found[0] if found is not None else None
            folder = parents[parent]
            if folder is not None:
                hidden.append((folder, marker))
        for folder, marker in hidden:
            if marker == OPAQUE:
                folder.entries.clear()
            else:
                folder.entries.pop(marker[len(WHITEOUT) :], None)

    def apply_entries(self) -> None:
        """Puts everything but the markers into the tree."""
        index = self._layer.index
        extras = index.extras
        targets = iter(index.targets)
        last_parent: bytes | None = None
        folder, room = self._root, 0
        for path, record in zip(index.paths, index.records(), strict=True):
            kind, mode, uid, gid, seconds, nanoseconds, size, start, number = record
            target = next(targets) if kind == ix.SYMLINK or kind == ix.HARD_LINK else b""
            parent, _, name = path.rpartition(b"/")
            if WHITEOUT in path:
                if _is_marker(path):
                    continue
                if not path.startswith(AUFS) and b"/" + WHITEOUT in b"/" + path:
                    self._fail(path, "a name in an image can't begin with .wh.")
            if parent != last_parent:
                folder, room = self._parents.get(parent) or self._parent(path, parent)
                last_parent = parent
            if len(name) > room:
                self._fail(path, f"with its symlinks resolved, the path is longer than Linux allows ({PATH_MAX - 1})")
            mtime = seconds * 1_000_000_000 + nanoseconds
            extra = extras[number]
            xattrs = extra.xattrs
            entries = folder.entries
            old = entries.get(name)
            if kind == ix.FILE:
                if extra.extents is not None:
                    content = self._sparse(size, extra.extents)
                elif size:
                    content = Content(size, (Piece(0, self._layer.source, start, size),))
                else:
                    content = EMPTY
                inode: Inode = File(content, mode, uid, gid, mtime, xattrs)
            elif kind == ix.DIRECTORY:
                directory = old if isinstance(old, Directory) else self._root if not path else None
                if directory is not None:
                    directory.mode, directory.uid, directory.gid = mode, uid, gid
                    directory.mtime, directory.xattrs = mtime, xattrs
                    continue
                inode = Directory(mode, uid, gid, mtime, xattrs)
            elif kind == ix.HARD_LINK:
                inode = self._link_target(path, target, folder, name)
            else:
                inode = _special(kind, target, start, mode, uid, gid, mtime, xattrs)
            if not path:
                self._fail(path, "the root is a directory, and no entry can make it something else")
            if old is not None and isinstance(old, (Directory, Symlink)):
                self._parents.clear()
                last_parent = None
            elif isinstance(inode, Directory):
                # What _resolve would find; not so where the entry's own path crosses the symlink that it replaces.
                self._parents[path] = inode, room - len(name) - 1
            entries[name] = inode
        for name in [name for name in self._root.entries if name.startswith(AUFS)]:
            del self._root.entries[name]

    def _sparse(self, size: int, extents: ix.Extents) -> Content:
        source = self._layer.source
        return Content(size, [Piece(offset, source, start, length) for offset, start, length in extents])

    def _link_target(self, path: bytes, target: bytes, folder: Directory, name: bytes) -> Inode:
        # Bound now: a later entry for the target's name makes a new inode, and this name keeps the old one.
        target_parent, _, target_name = target.rpartition(b"/")
        found = self._parents.get(target_parent) or self._resolve(path, target_parent)
        if found is not None:
            self._parents[target_parent] = found
        inode = found[0].entries.get(target_name) if found is not None else None
        if found is None or inode is None or (found[0] is folder and target_name == name):
            self._fail(path, f"the hard link's target {show_path(target)} is not there when the link is made")
        if isinstance(inode, Directory):
            self._fail(path, f"the hard link's target {show_path(target)} is a directory")
        return inode

    def _parent(self, path: bytes, parent: bytes) -> tuple[Directory, int]:
        found = self._resolve(path, parent, making=True)
        assert found is not None
        self._parents[parent] = found
        return found

    def _resolve(
        self, entry: bytes, path: bytes, *, making: bool = False, hiding: bool = False
    ) -> tuple[Directory, int] | None:
        """The directory at `path`, its symlinks followed inside the image, and how long a name in it may be.

        Where there is none: None, or with `making` a new one. `hiding`: for a whiteout, which is about the layers below.
        """
        todo = path.split(b"/")[::-1]
        names: list[bytes] = []
        folders = [self._root]
        crossed = 0
        while todo:
            name = todo.pop()
            if name == b"..":
                if names:
                    names.pop()
                    folders.pop()
                continue
            if name in (b"", b"."):
                continue
            inode = folders[-1].entries.get(name)
            if inode is None and making:
                inode = folders[-1].entries[name] = Directory(0o755, mtime=self._epoch)
            if isinstance(inode, Directory):
                names.append(name)
                folders.append(inode)
            elif isinstance(inode, Symlink):
                if hiding and self._lists_directory(b"/".join((*names, name))):
                    # The layer puts a directory in the symlink's place, opaque when overlayfs made it: nothing of it
                    # is in the layers below, and what the symlink points to is not meant.
                    return None
                crossed += 1
                if crossed > MAX_SYMLINKS:
                    self._fail(entry, f"its path crosses more than {MAX_SYMLINKS} symlinks")
                if inode.target.startswith(b"/"):
                    names, folders = [], [self._root]
                todo += inode.target.split(b"/")[::-1]
            elif making:
                self._fail(entry, f"{show_path(b'/'.join((*names, name)))} on its path is not a directory")
            else:
                return None
        # With symlinks a tree could become deeper with every entry, and no path in it could be opened.
        return folders[-1], PATH_MAX - 1 - sum(map(len, names)) - len(names)

    def _lists_directory(self, path: bytes) -> bool:
        if self._directories is None:
            index = self._layer.index
            kinds = (record[0] for record in index.records())
            self._directories = frozenset(
                path for path, kind in zip(index.paths, kinds, strict=True) if kind == ix.DIRECTORY
            )
        return path in self._directories

    def _fail(self, path: bytes, what: str) -> NoReturn:
        raise BuildError(f"layer {self._layer.diff_id}: entry '{show_path(path)}': {what}")


def _is_marker(path: bytes) -> bool:
    # By its name alone: what type of entry a whiteout is differs between the tools that write them.
    return path.rpartition(b"/")[2].startswith(WHITEOUT) and (path == OPAQUE or not path.startswith(AUFS))


def _special(
    kind: int, target: bytes, number: int, mode: int, uid: int, gid: int, mtime: int, xattrs: Mapping[bytes, bytes]
) -> Inode:
    if kind == ix.SYMLINK:
        # Linux gives every symlink 0777, whatever the tar says.
        return Symlink(target, 0o777, uid, gid, mtime, xattrs)
    if kind == ix.FIFO:
        return Fifo(mode, uid, gid, mtime, xattrs)
    device = CharDevice if kind == ix.CHAR_DEVICE else BlockDevice
    return device(number >> ix.MINOR_BITS, number & _MINOR, mode, uid, gid, mtime, xattrs)
