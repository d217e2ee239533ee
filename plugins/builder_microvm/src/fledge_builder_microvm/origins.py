"""Where a build copies from: the context, stages, images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fledge import drivers
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.reference import candidates
from fledge.sources import DockerfileRequest, ImageRequest, ImageSource
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform

from fledge_builder_microvm.host_tree import context_tree
from fledge_builder_microvm.patterns import IgnoreRules

FetchBase = Callable[[ImageRequest], ImageSource]


@dataclass(frozen=True, slots=True)
class Origin:
    """What COPY, ADD and mounts take from."""

    where: str
    """`the build context`, `the stage one`, for messages."""
    tree: Callable[[], Tree]
    """To be read only."""
    diff_ids: Sequence[str] | None = None
    """What identifies a stage or image; None: the build context, which its content does."""
    epoch: int = 0
    """The tree's, which `diff_ids` say nothing of: what no layer lists has that time."""
    folder: Path | None = None
    """The build context's."""

    def missing(self, source: str, path: GuestPath) -> BuildError:
        """The error for a source, which is `path` without symlinks, that is not in it."""
        unfiltered = None if self.folder is None else context_tree(self.folder, IgnoreRules(()), 0)
        there = unfiltered is not None and unfiltered.get(path) is not None
        hint = "the file exists, but a rule of .dockerignore leaves it out" if there else None
        return BuildError(f"{source!r} is not in {self.where}", hint=hint)


class Images:
    """Images by reference and platform, each fetched once a build."""

    def __init__(self, request: DockerfileRequest, context: BuildContext, fetch_base: FetchBase) -> None:
        self._request = request
        self._context = context
        self._fetch_base = fetch_base
        self._fetched: dict[tuple[str, Platform], ImageSource] = {}

    def fetch(self, reference: str, platform: Platform) -> ImageSource:
        """Raises BuildError."""
        key = reference, platform
        if key not in self._fetched:
            first, *others = candidates(reference, self._context.environ, drivers.names("transport"))
            wanted = ImageRequest(first, platform, self._request.base_dir, tuple(others))
            self._fetched[key] = self._fetch_base(wanted)
        return self._fetched[key]


def read_context(request: DockerfileRequest, epoch: int) -> Tree:
    """The build context. Raises BuildError, also for a malformed .dockerignore."""
    beside = request.dockerfile.with_name(request.dockerfile.name + ".dockerignore")
    path = beside if beside.exists() else request.build_context / ".dockerignore"
    return context_tree(request.build_context, _rules(path), epoch)


def _rules(path: Path) -> IgnoreRules:
    try:
        text = path.read_text(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return IgnoreRules(())
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
    try:
        return IgnoreRules.parse(text, path.name)
    except ValueError as error:
        raise BuildError(str(error)) from None
