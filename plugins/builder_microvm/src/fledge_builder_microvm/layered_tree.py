"""Layers, and the tree that they make."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.tree.layer import Layer
from fledge.tree.merge import apply_layer, merge
from fledge.tree.tree import Tree


class LayeredTree:
    """What a stage or image consists of. The tree is made when something asks for it: cached steps need none."""

    def __init__(self, layers: Sequence[Layer], epoch: int) -> None:
        """`epoch`: the mtime (ns) of what nobody dates."""
        self.layers = tuple(layers)
        self.epoch = epoch
        self._tree: Tree | None = None

    def copy(self) -> LayeredTree:
        """Another one that begins with the same layers."""
        return LayeredTree(self.layers, self.epoch)

    @property
    def tree(self) -> Tree:
        """What the layers make. A step may edit it if it then adds the layer of all its changes."""
        if self._tree is None:
            self._tree = Tree(merge(self.layers, self.epoch), self.epoch)
        return self._tree

    def add(self, layer: Layer, *, edited: bool) -> None:
        """Puts a layer on top. `edited`: whether the tree is what it makes of it already."""
        self.layers = (*self.layers, layer)
        if self._tree is not None and not edited:
            apply_layer(layer, self._tree.root, self.epoch)

    @property
    def diff_ids(self) -> Sequence[str]:
        """What identifies it."""
        return [str(layer.diff_id) for layer in self.layers]
