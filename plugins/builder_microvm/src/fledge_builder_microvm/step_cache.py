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
from fledge.tree.layer import Layer, find_layer
from fledge.values import Digest

from fledge_builder_microvm.fingerprints import completed

_VERSION: Final = "1"
"""Another one where the same step gives another layer than before."""
_KIND: Final = "dockerfile-step"


class StepKey:
    """What identifies a step, in two parts, since it takes reading all files to know the second."""

    def __init__(self, below: Sequence[str], settled: Sequence[Any], contents: Sequence[Content] = ()) -> None:
        """`below`: the diff_ids of the layers under it. `settled`: what else it depends on, JSON-like.

        `contents`: of the files that it copies, in an order that goes by `settled`.
        """
        document = json.dumps([_VERSION, below, settled], sort_keys=True)
        self.outline: Final = hashlib.sha256(document.encode()).hexdigest()
        """The key but for what is in the files."""
        self.contents: Final = contents

    def whole(self) -> str:
        """The key. Raises BuildError for a file that can't be read."""
        return completed(self.outline, self.contents) if self.contents else self.outline


class StepCache:
    """The results in the store, pruned with the rest of it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, key: StepKey) -> Sequence[Layer] | None:
        """The layer that the step made, or none where it changed nothing; None where that is not known any more.

        No file is read for a step that was never done with files of these names and sizes.
        """
        if key.contents:
            outline = self._store.path("links", _KIND, key.outline)
            if not outline.exists():
                return None
            self._store.touch(outline)
        path = self._store.path("links", _KIND, key.whole())
        try:
            fact = json.loads(path.read_bytes())
            diff_ids = [Digest.parse(text) for text in fact["layers"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        layers = [find_layer(self._store, diff_id) for diff_id in diff_ids]
        self._store.touch(path)
        found = [layer for layer in layers if layer is not None]
        return found if len(found) == len(layers) else None

    def keep(self, key: StepKey, layers: Sequence[Layer]) -> None:
        """Remembers what a step made."""
        fact = {"layers": [str(layer.diff_id) for layer in layers]}
        self._store.put(json.dumps(fact).encode(), "links", _KIND, key.whole())
        if key.contents:
            self._store.put(b"{}", "links", _KIND, key.outline)
