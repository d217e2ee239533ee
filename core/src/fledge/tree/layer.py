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
_LINK: Final = "diff_id"
_DIGEST_MAX: Final = 256


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


def known_diff_id(store: Store, blob: Digest) -> Digest | None:
    """What the compressed blob was found to hold when it was ingested; None where it never was."""
    data = store.path("links", _LINK, str(blob))
    try:
        return Digest.parse(data.read_bytes()[:_DIGEST_MAX].decode("ascii", "replace"))
    except (FileNotFoundError, ValueError):
        return None


def remember_diff_id(store: Store, blob: Digest, diff_id: Digest) -> None:
    """For the next build, which then knows without fetching the blob."""
    if known_diff_id(store, blob) != diff_id:
        store.put(str(diff_id).encode(), "links", _LINK, str(blob))
