"""A Dockerfile, read: its instructions, its stages, and those that a build needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fledge.errors import BuildError
from fledge.sources import DockerfileRequest

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.arguments import automatic_arguments
from fledge_builder_microvm.graph import Graph, Stage, make_graph
from fledge_builder_microvm.lines import read_lines
from fledge_builder_microvm.parse import parse_lines
from fledge_builder_microvm.words import Words

_LIMIT: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """What one build makes of its Dockerfile."""

    instructions: tuple[ins.Instruction, ...]
    words: Words
    graph: Graph
    target: Stage
    needed: Sequence[Stage]
    """The target and what it depends on, in the order of the Dockerfile."""

    def first_run(self) -> tuple[Stage, ins.Run] | None:
        """The first RUN that the build meets."""
        return next(((stage, run) for stage in self.needed if (run := stage.first_run()) is not None), None)


def read_dockerfile(request: DockerfileRequest) -> Dockerfile:
    """Raises BuildError for a file that can't be read, and, with the line, for what is wrong in it."""
    name = request.reference.name.removeprefix("./")
    try:
        data = request.dockerfile.read_bytes()
    except OSError as error:
        raise BuildError(f"can't read {request.dockerfile}: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise BuildError(f"{name}: it has {len(data)} bytes; at most {_LIMIT >> 20} MiB are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BuildError(f"{name}:{line}: it is not UTF-8") from None
    lines = read_lines(text, name)
    instructions, words = parse_lines(lines), Words(lines.escape)
    names = [one.name for one in instructions if isinstance(one, ins.From)]
    automatic = automatic_arguments(request, names[-1] if names else None)
    graph = make_graph(instructions, name, request.dated_args, request.platform, automatic, words)
    target = graph.target(request.target, name)
    return Dockerfile(instructions, words, graph, target, graph.needed(target))
