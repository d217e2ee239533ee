"""The disks of a step's machine: files that are there for the step, and caches that stay."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fledge.atomic import PartFile
from fledge.boot.machine import Disk
from fledge.errors import BuildError
from fledge.output import ImageFile
from fledge.progress import Progress
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree

from fledge_builder_microvm.run_surroundings import DiskImage
from fledge_builder_microvm.steps import CacheMount

if TYPE_CHECKING:
    from fledge.context import BuildContext

_CACHES: Final = ("packs", "run-cache", "ext4")
"""Where the store keeps caches: `fledge cache` lists and prunes them there."""


class Disks:
    """Makes disks; whatever is not a cache is gone when `stack` ends, or the process."""

    def __init__(self, context: BuildContext, stack: ExitStack, free: int) -> None:
        """`free`: bytes that a step may write to a disk."""
        self._context = context
        self._stack = stack
        self._free = free
        self._locked: set[str] = set()
        self._caches: dict[str, Path] = {}

    def lower(self, tree: Tree) -> Disk:
        """The root as it was before the step."""
        return Disk(self._temporary(tree, 0), read_only=True)

    def scratch(self, root: Directory) -> Disk:
        """Where the step's changes go. `root`: whose owner, mode, times and xattrs the changed root begins with."""
        top = Directory(0o700)
        top.entries = {
            b"root": Directory(0o755),
            b"upper": Directory(root.mode, root.uid, root.gid, root.mtime, root.xattrs),
            b"work": Directory(0o700),
        }
        return Disk(self._temporary(Tree(top), self._free), read_only=False, kept=True)

    def mounted(self, images: Sequence[DiskImage]) -> Iterator[Disk]:
        """What mounts bring. Raises BuildError for a cache that is there twice."""
        caches = [image.cache for image in images if image.cache is not None]
        for one, other in pairwise(sorted(cache.id for cache in caches)):
            if one == other:
                raise BuildError(f"the cache {one!r} is mounted twice")
        # Two builds that want the same caches must not each have one and wait for the other.
        for cache in sorted(caches, key=lambda cache: cache.id):
            if self._lock(_name(cache), wait=cache.sharing != "private"):
                self._locked.add(cache.id)
        return map(self._mounted, images)

    def drop_caches(self) -> None:
        """Removes the caches that were used: what a step wrote to them is there in part."""
        for name, path in self._caches.items():
            self._context.progress.warning(f"the cache {name!r} of RUN --mount is dropped, since it may be damaged")
            path.unlink(missing_ok=True)

    def _mounted(self, image: DiskImage) -> Disk:
        if image.cache is not None:
            return Disk(self._cache(image.cache, image.tree), read_only=False, kept=True)
        free = self._free if image.writable else 0
        return Disk(self._temporary(image.tree, free), read_only=not image.writable, kept=image.writable)

    def _temporary(self, tree: Tree, free: int) -> Path:
        part = self._stack.enter_context(self._context.store.part("run"))
        self._write(part, tree, free, journal=False)
        return part.path

    def _write(self, part: PartFile, tree: Tree, free: int, *, journal: bool) -> None:
        from fledge_fs_ext4.image import write_image

        target = ImageFile(part.path, part.fd)
        write_image(target, tree, lambda _: free, Progress(), journal=journal)

    def _cache(self, mount: CacheMount, seed: Tree) -> Path:
        """The cache's disk, which nobody else uses meanwhile: a filesystem has one machine at a time."""
        if mount.id not in self._locked:
            return self._temporary(seed, self._free)
        store, name = self._context.store, _name(mount)
        path = store.path(*_CACHES, name)
        if not path.exists():
            # With a journal: a step that is interrupted must not cost what others gathered.
            with store.part("cache") as part:
                self._write(part, seed, self._free, journal=True)
                store.keep(part, *_CACHES, name)
        store.touch(path)
        self._caches[mount.id] = path
        return path

    def _lock(self, name: str, *, wait: bool) -> bool:
        path = self._context.store.path("tmp", f"{name}.lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                return False
            self._context.progress.info("waiting for another build to be done with a cache of RUN --mount")
            fcntl.flock(fd, fcntl.LOCK_EX)
        return True


def _name(mount: CacheMount) -> str:
    return hashlib.sha256(mount.id.encode("utf-8", "surrogateescape")).hexdigest()
