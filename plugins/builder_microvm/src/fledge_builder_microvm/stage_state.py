"""What a stage is after some of its instructions: layers, their tree, the config, the variables."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.tree.layer import Layer
from fledge.tree.merge import apply_layer, merge
from fledge.tree.tree import Tree

from fledge_builder_microvm.arguments import Scope
from fledge_builder_microvm.image_config import ConfigDraft


class StageState:
    """Changed by one instruction after the other. The tree is made when something asks for it: cached steps need none."""

    def __init__(
        self, layers: Sequence[Layer], config: ConfigDraft, scope: Scope, epoch: int, base_created: int | None
    ) -> None:
        """`epoch`: the mtime (ns) of what nobody dates. `base_created`: when the base image was (ns), if it says so."""
        self.layers = tuple(layers)
        self.config = config
        self.scope = scope
        self.epoch = epoch
        self.base_created = base_created
        self._tree: Tree | None = None

    def child(self) -> StageState:
        """The state in which a stage begins that is based on this one."""
        return StageState(self.layers, self.config.child(), self.scope.child(), self.epoch, self.base_created)

    @property
    def tree(self) -> Tree:
        """What the layers make. A step may edit it if it then adds the layer of its changes."""
        if self._tree is None:
            self._tree = Tree(merge(self.layers, self.epoch), self.epoch)
        return self._tree

    def add(self, layer: Layer) -> None:
        """Puts a layer on top."""
        self.layers = (*self.layers, layer)
        if self._tree is not None:
            apply_layer(layer, self._tree.root, self.epoch)
