"""What steps gave before: a step's key leads to the layer that it made.

A key is a digest over all that the step's result depends on: the layers below, the settled instruction, and what it
copies. So a step is done again exactly when one of these is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from fledge.store import Store
from fledge.tree.content import Content
from fledge.tree.inode import Device, Directory, File, Inode, Symlink
from fledge.tree.layer import Layer, find_layer
from fledge.values import Digest

_VERSION: Final = "1"
"""Another one where the same step gives another layer than before."""
_KIND: Final = "dockerfile-step"


def step_key(below: Sequence[str], *settled: Any) -> str:
    """The key of a step on top of layers with the diff_ids `below`. `settled`: what else it depends on, JSON-like."""
    document = [_VERSION, below, settled]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


class StepCache:
    """The results in the store, pruned with the rest of it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, key: str) -> Sequence[Layer] | None:
        """The layer that the step made, or none where it changed nothing; None where that is not known any more."""
        path = self._store.path("links", _KIND, key)
        try:
            fact = json.loads(path.read_bytes())
            diff_ids = [Digest.parse(text) for text in fact["layers"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        layers = [find_layer(self._store, diff_id) for diff_id in diff_ids]
        self._store.touch(path)
        found = [layer for layer in layers if layer is not None]
        return found if len(found) == len(layers) else None

    def keep(self, key: str, layers: Sequence[Layer]) -> None:
        """Remembers what a step made."""
        fact = {"layers": [str(layer.diff_id) for layer in layers]}
        self._store.put(json.dumps(fact).encode(), "links", _KIND, key)


class Fingerprints:
    """Digests of inodes. Each file is read once, however many steps copy it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Content, bytes]] = {}
        """By the identity of contents, which therefore are kept."""

    def of(self, inode: Inode) -> str:
        """A digest of the inode and all below it: names, metadata, contents, and which names are one file.

        Without the time of a directory at the top: that of the build context changes with whatever is written into it, an
        artifact for one, and it is not copied.
        """
        digest = hashlib.sha256()
        numbers: dict[int, int] = {}
        todo: list[tuple[bytes, Inode]] = [(b"", inode)]
        while todo:
            path, inode = todo.pop()
            number = numbers.setdefault(id(inode), len(numbers))
            xattrs = sorted(inode.xattrs.items())
            what: tuple[object, ...] = ()
            if isinstance(inode, Directory):
                below = sorted(inode.entries.items(), reverse=True)
                todo += [(path + b"/" + name, child) for name, child in below]
            elif isinstance(inode, File):
                what = (inode.content.size, self._of_content(inode.content))
            elif isinstance(inode, Symlink):
                what = (inode.target,)
            elif isinstance(inode, Device):
                what = (inode.major, inode.minor)
            mtime = 0 if not path and isinstance(inode, Directory) else inode.mtime
            entry = (path, number, inode.FORMAT, inode.mode, inode.uid, inode.gid, mtime, xattrs, what)
            digest.update(repr(entry).encode())
        return digest.hexdigest()

    def _of_content(self, content: Content) -> bytes:
        if (known := self._known.get(id(content))) is not None:
            return known[1]
        digest = hashlib.sha256()
        for chunk in content.chunks():
            digest.update(chunk)
        self._known[id(content)] = content, digest.digest()
        return digest.digest()
