"""A layer in the store: the decompressed tar, and the index of what stands where in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fledge.store import Store
from fledge.tree.content import FileSource
from fledge.tree.index import LayerIndex
from fledge.values import Digest

TAR: Final = "tar"
INDEX: Final = "index"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that was verified and indexed; files' contents are slices of `source`."""

    diff_id: Digest
    source: FileSource
    index: LayerIndex


def find_layer(store: Store, diff_id: Digest) -> Layer | None:
    """The layer, where the store has it whole; the tar itself is not read.

    None also for an index that is damaged, of another version, or not of this tar: fetching the layer anew is rare,
    and always right.
    """
    folder = store.layer_path(diff_id)
    try:
        source = FileSource(folder / TAR)
        data = (folder / INDEX).read_bytes()
    except FileNotFoundError:
        return None
    index = LayerIndex.load(data, diff_id, source.size)
    if index is None:
        return None
    store.touch(folder)
    return Layer(diff_id, source, index)

