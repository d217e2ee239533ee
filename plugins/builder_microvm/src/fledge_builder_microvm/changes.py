"""What a step changes in the tree, as an OCI layer says it (image-spec layer.md, "Representing Changes")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fledge.tree.inode import Inode


@dataclass(frozen=True, slots=True)
class Put:
    """`inode` stands at `path`, new or changed. A directory's entries don't count; one inode at two paths is a hard link."""

    path: bytes
    """Relative to the root, without a slash at either end; b"" is the root itself."""
    inode: Inode


@dataclass(frozen=True, slots=True)
class Remove:
    """What the layers below have at `path` is gone, with all below it."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Opaque:
    """What the layers below have in the directory at `path` is gone; what this layer puts there stays."""

    path: bytes


Change = Put | Remove | Opaque


def limit_times(changes: Iterable[Change], latest: int) -> None:
    """Sets later mtimes to `latest` (ns): what SOURCE_DATE_EPOCH asks for (reproducible-builds.org's specification)."""
    for change in changes:
        if isinstance(change, Put):
            change.inode.mtime = min(change.inode.mtime, latest)
