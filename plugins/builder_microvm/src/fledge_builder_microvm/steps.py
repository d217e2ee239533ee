"""One RUN step, settled: what the Dockerfile's side hands to whatever runs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree

from fledge_builder_microvm.changes import Change


@dataclass(frozen=True, slots=True)
class BindMount:
    """`inode` is seen at `target`: a folder of the context, a stage or an image, one file, or a script of a heredoc.

    What a step writes to one that is not `readonly` is gone after it.
    """

    target: str
    inode: Directory | File
    readonly: bool = True


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A directory that outlives the step under `id`, and that no layer ever holds."""

    target: str
    id: str
    seed: Directory | None = None
    """What it holds when `id` is new; None: nothing."""
    mode: int | None = None
    """None: as the seed has it, else 0755."""
    uid: int | None = None
    gid: int | None = None
    readonly: bool = False
    sharing: Literal["shared", "private", "locked"] = "shared"


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """An empty tmpfs. `size`: in bytes; None: the kernel's default."""

    target: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A file that no layer ever holds. A secret that is wanted in the environment stands in `RunStep.environ`."""

    target: str
    data: bytes
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount


@dataclass(frozen=True, slots=True)
class RunStep:
    """One RUN instruction."""

    argv: tuple[str, ...]
    """As executed: SHELL stands in front of the shell form already."""
    environ: Mapping[str, str]
    """The stage's ENV, the ARGs in scope, secrets. PATH is there; HOME is the runner's, after `user`, unless given."""
    workdir: str
    """Absolute, resolved, and a directory of the tree."""
    user: str
    """USER's value, names or numbers: `user`, `user:group`; empty for root. To be looked up in the tree."""
    mounts: tuple[Mount, ...] = ()
    """Parents before what lies in them. Their targets are absolute, and need not be there in the tree: what is made for
    them is not a change."""
    network: bool = True
    """False: no interface but lo."""


class Runner(Protocol):
    """Runs RUN steps."""

    def obstacle(self) -> str | None:
        """Why no RUN step can run here, in a few words; None when it can. Quick, and without a trace."""

    def run(self, step: RunStep, root: Tree) -> Iterable[Change]:
        """Runs the step with `root` as its root filesystem, which stays as it is, and gives what it changed.

        Parents come before what lies in them, removals before what is put in their place. What the step prints goes to
        the user as it comes. Raises BuildError when it fails, with the exit code or signal.
        """
