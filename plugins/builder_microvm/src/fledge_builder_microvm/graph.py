"""The stages of a Dockerfile, and which of them a build needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fledge.errors import BuildError
from fledge.values import Platform

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.digits import whole_number
from fledge_builder_microvm.places import telling
from fledge_builder_microvm.words import Words

SCRATCH: Final = "scratch"


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it."""

    index: int
    start: ins.From
    instructions: tuple[ins.Instruction, ...]
    base: int | str
    """The index of the stage that it is based on, or the reference of an image; `scratch` for none."""
    platform: Platform

    @property
    def name(self) -> str:
        """For messages."""
        return self.start.name or str(self.index)

    def origins(self) -> Sequence[str]:
        """What its --from name."""
        names: list[str] = []
        for one in self.instructions:
            if isinstance(one, ins.Copy) and one.origin is not None:
                names.append(one.origin)
            elif isinstance(one, ins.Run):
                names += [mount["from"] for mount in one.mounts if "from" in mount]
        return names

    def first_run(self) -> ins.Run | None:
        """Its first RUN."""
        return next((one for one in self.instructions if isinstance(one, ins.Run)), None)


@dataclass(frozen=True, slots=True)
class Graph:
    """All stages of a Dockerfile, with the variables in their FROM replaced."""

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str]
    """The global scope: the ARGs before the first FROM, and those that are there unasked."""

    @property
    def names(self) -> str:
        """All stages, for messages."""
        return ", ".join(stage.name for stage in self.stages)

    def find(self, name: str) -> Stage | None:
        """The stage that --from or --target means, by its name (the last one of that name) or number."""
        lowered = name.lower()
        for stage in reversed(self.stages):
            if stage.start.name == lowered:
                return stage
        index = whole_number(name, len(self.stages) - 1)
        return None if index is None else self.stages[index]

    def target(self, name: str | None, dockerfile: str) -> Stage:
        """The stage to build; None: the last one. Raises BuildError."""
        stage = self.stages[-1] if name is None else self.find(name)
        if stage is None:
            raise BuildError(f"{dockerfile}: there is no stage {name!r}; there are: {self.names}")
        return stage

    def needed(self, target: Stage) -> tuple[Stage, ...]:
        """The stages that `target` needs, itself among them, in the order of the Dockerfile."""
        found: set[int] = set()
        todo = [target]
        while todo:
            stage = todo.pop()
            if stage.index in found:
                continue
            found.add(stage.index)
            origins = [self.find(name) for name in stage.origins()]
            # A stage can copy only from those before it, which the step itself tells.
            todo += [origin for origin in origins if origin is not None and origin.index < stage.index]
            if isinstance(stage.base, int):
                todo.append(self.stages[stage.base])
        return tuple(self.stages[index] for index in sorted(found))


def make_graph(
    instructions: Sequence[ins.Instruction],
    dockerfile: str,
    given: Mapping[str, str],
    platform: Platform,
    automatic: Mapping[str, str],
    words: Words,
) -> Graph:
    """Splits into stages. `given`: --build-arg; `automatic`: the ARGs that are there unasked.

    Raises BuildError for a Dockerfile without FROM, an instruction before it, and a FROM that comes to nothing.
    """
    arguments = dict(automatic)
    stages: list[Stage] = []
    starts = [at for at, one in enumerate(instructions) if isinstance(one, ins.From)]
    if not starts:
        raise BuildError(f"{dockerfile}: it has no FROM")
    for one in instructions[: starts[0]]:
        if not isinstance(one, ins.Arg):
            raise BuildError(f"{one.place}: only ARG can stand before the first FROM")
        for name, default in one.pairs:
            value = given.get(name)
            if value is None and default is not None:
                with telling(f"{one.place}: ARG"):
                    value = words.expand(default, arguments)
            if value is not None:
                arguments[name] = value
    for at, end in zip(starts, [*starts[1:], len(instructions)], strict=True):
        start = instructions[at]
        assert isinstance(start, ins.From)
        with telling(f"{start.place}: FROM"):
            image = words.expand(start.image, arguments)
            if not image:
                raise BuildError(f"{start.image}: the name of the image is empty")
            stage_platform = platform
            if start.platform is not None:
                stage_platform = _platform(words.expand(start.platform, arguments))
        index = next((known.index for known in reversed(stages) if known.start.name == image.lower()), None)
        stages.append(
            Stage(
                len(stages),
                start,
                tuple(instructions[at + 1 : end]),
                image if index is None else index,
                stage_platform if index is None else stages[index].platform,
            )
        )
    return Graph(tuple(stages), arguments)


def _platform(text: str) -> Platform:
    try:
        return Platform.parse(text)
    except ValueError as error:
        raise BuildError(str(error)) from None
