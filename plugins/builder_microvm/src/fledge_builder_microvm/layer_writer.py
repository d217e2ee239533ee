"""Changes to a layer: a tar in the store that is the same for the same changes, bytes and all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fledge.store import Store
from fledge.tree.ahead import Ahead
from fledge.tree.content import FileSource
from fledge.tree.layer import INDEX, TAR, Layer, find_layer
from fledge.values import Digest

from fledge_builder_microvm.changes import Change
from fledge_builder_microvm.layer_tar import LayerTar


def write_layer(store: Store, changes: Iterable[Change]) -> Layer:
    """The layer that makes `changes`, in the store.

    Raises BuildError for what no layer can hold, such as a name that begins with `.wh.`, and when the store can't be
    written.
    """
    tar = LayerTar()
    digest = hashlib.sha256()
    size = 0
    with store.part("layer") as part, Ahead(tar.blocks(changes)) as blocks:
        for block in blocks:
            digest.update(block)
            with store.writing():
                part.write(block)
            size += len(block)
        diff_id = Digest("sha256", digest.hexdigest())
        layer = find_layer(store, diff_id)
        if layer is None:
            place = ("layers", diff_id.algorithm, diff_id.hex)
            layer = Layer(diff_id, FileSource(store.keep(part, *place, TAR)), tar.index())
            # Last, because a layer is there when its index is.
            store.put(layer.index.dump(diff_id, size), *place, INDEX)
    tar.settle(layer.source)
    return layer
