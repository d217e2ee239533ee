"""The content-addressed store in the user's cache folder, shared by builds at once.

    blobs/<algorithm>/<hex>       what was downloaded whole: manifests, configs, agents
    layers/<algorithm>/<hex>/     a layer by its diff_id: `tar` (decompressed) and `index` (what stands where)
    links/<kind>/<key>            small facts: what a URL gave, and with which ETag; which layer a step gave
    packs/<kind>/...              what a driver keeps for the next build (compressed blocks, caches of steps)

Everything is written aside and renamed, so a reader never sees half a file, and two writers of one thing write the
same thing; but for caches of steps, disks that one step at a time writes in their place. A build holds a shared lock;
`prune` takes it exclusively.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from fledge.atomic import PartFile, remove_dead
from fledge.errors import BuildError
from fledge.values import Digest


def default_folder(environ: Mapping[str, str]) -> Path:
    """`FLEDGE_CACHE_DIR`, else `fledge` in the user's cache folder."""
    named = environ.get("FLEDGE_CACHE_DIR")
    if named:
        return Path(named).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("fledge")


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is kept and can be pruned on its own."""

    kind: str
    name: str
    size: int
    """Bytes on disk."""
    used: float
    """When a build last used it, in seconds since 1970."""


_KINDS: Final = {"layer": ("layers", 2), "blob": ("blobs", 2), "link": ("links", 2), "pack": ("packs", 3)}
"""The folder of each kind, and how deep in it an item stands."""


class Store:
    """One cache folder. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        """The folder is made by its first use."""
        self.folder = folder

    @cached_property
    def _lock(self) -> int:
        """Raises BuildError when the folder can't be made or written."""
        try:
            (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
            return os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise BuildError(
                f"can't use the cache folder {self.folder}: {error.strerror}",
                hint="set FLEDGE_CACHE_DIR to a folder that can be written",
            ) from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While it lasts, nobody prunes; what dead builds left behind is removed first."""
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            remove_dead(self.folder / "tmp")
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """While it lasts, no build uses the store. Raises BuildError when one does."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BuildError(
                f"the cache {self.folder} is in use by a build", hint="try again when it is done"
            ) from error
        try:
            remove_dead(self.folder / "tmp")
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def path(self, *parts: str) -> Path:
        """Where something is or would be kept."""
        return self.folder.joinpath(*parts)

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob is or would be kept."""
        return self.path("blobs", digest.algorithm, digest.hex)

    def layer_path(self, diff_id: Digest) -> Path:
        """The folder of a layer, there or not."""
        return self.path("layers", diff_id.algorithm, diff_id.hex)

    def part(self, label: str) -> PartFile:
        """A temporary file in the store. Raises BuildError when it can't be made."""
        _ = self._lock  # The folder is there now.
        with self.writing():
            return PartFile(self.folder / "tmp", label)

    def keep(self, part: PartFile, *parts: str) -> Path:
        """Gives a temporary file its place.

        Not synced: filesystems grow a file's size only as its data reach the disk, so what a power cut left behind is
        too short, and whoever finds it looks at the size and the checksums. Raises BuildError when it can't be done.
        """
        final = self.path(*parts)
        with self.writing():
            final.parent.mkdir(parents=True, exist_ok=True)
            part.commit(final)
        return final

    def put(self, data: bytes, *parts: str) -> Path:
        """Keeps a small file. Raises BuildError when it can't be written."""
        with self.part(parts[-1]) as part:
            with self.writing():
                part.write(data)
            return self.keep(part, *parts)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around what writes to the store. Raises BuildError for an OSError in it."""
        try:
            yield
        except OSError as error:
            raise BuildError(
                f"can't write to the cache folder {self.folder}: {error.strerror}",
                hint="free some space, or set FLEDGE_CACHE_DIR to a folder elsewhere",
            ) from error

    def read_blob(self, digest: Digest, limit: int) -> bytes | None:
        """A small blob's bytes, verified again; None when it is not there, not itself any more, or over `limit` bytes."""
        try:
            with open(self.blob_path(digest), "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        good = len(data) <= limit and hashlib.new(digest.algorithm, data).hexdigest() == digest.hex
        self.touch(self.blob_path(digest))
        return data if good else None

    def put_blob(self, digest: Digest, data: bytes) -> None:
        """Keeps a small blob that the caller has verified."""
        self.put(data, "blobs", digest.algorithm, digest.hex)

    def touch(self, path: Path) -> None:
        """Notes that something was used now; `prune` goes by that."""
        with suppress(OSError):  # Another user's cache: it serves all the same.
            os.utime(path)

    def items(self) -> Sequence[Item]:
        """Everything that is kept, by kind and name."""
        return sorted((item for item, _ in self._items()), key=lambda item: (item.kind, item.name))

    def prune(self, before: float | None) -> Sequence[Item]:
        """Removes what was last used before a moment (seconds since 1970; None: everything) and returns it.

        Raises BuildError while a build uses the store.
        """
        removed = []
        with self.exclusively():
            for item, path in self._items():
                if before is None or item.used < before:
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    removed.append(item)
        return removed

    def _items(self) -> Iterator[tuple[Item, Path]]:
        for kind, (folder, depth) in _KINDS.items():
            for path in sorted(self.path(folder).glob("/".join("*" * depth))):
                files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
                size = sum(file.stat().st_blocks * 512 for file in files)
                name = path.relative_to(self.path(folder)).as_posix().replace("/", ":", 1)
                yield Item(kind, name, size, path.stat().st_mtime), path
