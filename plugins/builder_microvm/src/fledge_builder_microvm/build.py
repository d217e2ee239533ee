"""A Dockerfile's build: the stages that are needed, in order, one instruction after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.parse_config import parse_config
from fledge.sources import DockerfileRequest, ImageSource
from fledge.tree.layer import Layer
from fledge.tree.tree import Tree
from fledge.values import Digest, Platform

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.arguments import PREDEFINED, Scope
from fledge_builder_microvm.dockerfile import Dockerfile
from fledge_builder_microvm.graph import SCRATCH, Stage
from fledge_builder_microvm.image_config import ConfigDraft
from fledge_builder_microvm.layered_tree import LayeredTree
from fledge_builder_microvm.origins import FetchBase, Images, Origin, read_context
from fledge_builder_microvm.places import telling
from fledge_builder_microvm.stage_build import StageBuilder
from fledge_builder_microvm.step_cache import StepCache

if TYPE_CHECKING:
    from fledge_builder_microvm.steps import Runner

_SECOND: Final = 10**9


@dataclass(frozen=True, slots=True)
class StageState:
    """What a stage is, and is based on, while its instructions change it."""

    files: LayeredTree
    config: ConfigDraft
    scope: Scope
    base_created: int | None
    """When the base image was made, in nanoseconds since 1970, if it says so."""

    def child(self) -> StageState:
        """Where a stage begins that is based on this one."""
        return StageState(self.files.copy(), self.config.child(), self.scope.child(), self.base_created)


class Build:
    """What the stages of one build share."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        request: DockerfileRequest,
        context: BuildContext,
        fetch_base: FetchBase,
        make_runner: Callable[[Platform], Runner],
    ) -> None:
        self.dockerfile = dockerfile
        self.request = request
        self.context = context
        self._make_runner = make_runner
        self._runners: dict[Platform, Runner] = {}
        self.cache = StepCache(context.store)
        self.latest = None if request.epoch is None else request.epoch * _SECOND
        self.images = Images(request, context, fetch_base)
        self._states: dict[int, StageState] = {}
        self._images: dict[tuple[str, int], LayeredTree] = {}
        self._context_tree: Tree | None = None

    def image(self) -> ImageSource:
        """Builds the target. Raises BuildError."""
        for stage in self.dockerfile.needed:
            self._states[stage.index] = self._stage(stage)
        self._warn_of_unused()
        target = self.dockerfile.target
        state = self._states[target.index]
        created = self.created(state)
        data = state.config.render(state.files.diff_ids, created)
        reference = self.request.reference
        config = parse_config(data, str(reference), target.platform, len(state.files.layers))
        return ImageSource(reference, Digest.of(data), config, state.files.layers)

    def runner(self, platform: Platform) -> Runner:
        """What runs a platform's RUN steps, one for all of them. Raises BuildError where they can't be run."""
        if platform not in self._runners:
            runner = self._make_runner(platform)
            obstacle = runner.obstacle()
            if obstacle is not None:
                raise BuildError(obstacle)
            self._runners[platform] = runner
        return self._runners[platform]

    def created(self, state: StageState) -> int | None:
        """The image's time: SOURCE_DATE_EPOCH, else its base's."""
        return self.latest if self.latest is not None else state.base_created

    def context_tree(self) -> Tree:
        """The build context, read as far as something looks into it."""
        if self._context_tree is None:
            self._context_tree = read_context(self.request, 0)
        return self._context_tree

    def origin(self, name: str | None, stage: Stage, epoch: int) -> Origin:
        """What --from names in `stage`; None: the build context."""
        if name is None:
            return Origin("the build context", self.context_tree, folder=self.request.build_context)
        graph = self.dockerfile.graph
        found = graph.find(name)
        if found is None and name.isdigit():
            raise BuildError(f"--from={name}: there is no such stage; there are: {graph.names}")
        if found is None:
            files, where = self._image(name, epoch), f"the image {name}"
        elif found.index >= stage.index:
            raise BuildError(f"--from={name}: the stage {found.name} has to come before this one")
        elif found.index not in self._states:
            # Only for a trigger of a base image, which was not known when the stages were chosen.
            raise BuildError(f"--from={name}: the stage {found.name} is not built for a trigger")
        else:
            files, where = self._states[found.index].files, f"the stage {found.name}"
        return Origin(where, lambda: files.tree, files.diff_ids, files.epoch)

    def _image(self, name: str, epoch: int) -> LayeredTree:
        if "$" in name:
            raise BuildError(
                f"--from={name}: variables are not replaced here", hint="give the image a stage of its own"
            )
        if name == SCRATCH:
            return LayeredTree((), epoch)
        key = name, epoch
        if key not in self._images:
            self._images[key] = LayeredTree(self.images.fetch(name, self.request.platform).layers, epoch)
        return self._images[key]

    def _stage(self, stage: Stage) -> StageState:
        with telling(f"{stage.start.place}: FROM"):
            state = self._base(stage)
        StageBuilder(self, stage, state).run()
        return state

    def _base(self, stage: Stage) -> StageState:
        if isinstance(stage.base, int):
            return self._states[stage.base].child()
        if stage.base == SCRATCH:
            layers: tuple[Layer, ...] = ()
            config, created = ConfigDraft.empty(stage.platform), None
        else:
            image = self.images.fetch(stage.base, stage.platform)
            layers = tuple(image.layers)
            config, created = ConfigDraft.of(image.config), image.config.created
        epoch = self.latest if self.latest is not None else created or 0
        scope = Scope(self.request.dated_args, self.dockerfile.graph.arguments, config.environ())
        return StageState(LayeredTree(layers, epoch), config, scope, created)

    def _warn_of_unused(self) -> None:
        declared = {name for one in self.dockerfile.instructions if isinstance(one, ins.Arg) for name, _ in one.pairs}
        # A trigger of a base image declares some, too.
        declared = declared.union(*(state.scope.declared for state in self._states.values()))
        known = declared | PREDEFINED | set(self.dockerfile.graph.arguments)
        for name in sorted(set(self.request.build_args) - known):
            self.context.progress.warning(f"the build argument {name} is not declared by any ARG")
