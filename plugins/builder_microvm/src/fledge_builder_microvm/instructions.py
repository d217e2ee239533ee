"""The instructions of a Dockerfile, by type; variables in them are not replaced yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fledge_builder_microvm.lines import Heredoc

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command line. `shell`: the shell form's; else `argv` is the exec form's."""

    argv: tuple[str, ...] = ()
    shell: str | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """What all have."""

    place: str
    """`Dockerfile:12`."""
    text: str
    """For the log and the image's history."""


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """FROM, the beginning of a stage."""

    image: str
    platform: str | None
    name: str | None
    """Lower-case."""


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """ARG."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """ENV."""

    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """LABEL."""

    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY and ADD."""

    is_add: bool
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    """Files that the Dockerfile itself holds, beside `sources`."""
    origin: str | None = None
    """--from: a stage or an image; None: the build context."""
    owner: str | None = None
    mode: str | None = None
    checksum: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """RUN."""

    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[Mapping[str, str], ...] = ()
    """--mount: keys, as written, to values."""
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """WORKDIR."""

    path: str


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """USER."""

    user: str


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """SHELL."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    """CMD."""

    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    """ENTRYPOINT."""

    command: Command


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """EXPOSE."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    """VOLUME."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """HEALTHCHECK. Durations in nanoseconds; None: not given."""

    command: Command | None
    """None: NONE."""
    durations: Mapping[str, int]
    """By their names in the image config."""
    retries: int | None


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    """STOPSIGNAL."""

    signal: str


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    """MAINTAINER."""

    author: str


@dataclass(frozen=True, slots=True)
class Onbuild(Instruction):
    """ONBUILD."""

    trigger: str
    """As it stands in the image config."""
