"""What a build makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fledge.tree.tree import Tree
from fledge.values import Digest

if TYPE_CHECKING:
    from fledge.output import ArtifactFile


@dataclass(frozen=True, slots=True)
class Artifact:
    """A packed artifact, on disk under a temporary name until the whole build has succeeded."""

    file: ArtifactFile
    """Finished: `file.finish` was called."""
    format: str
    """The filesystem's name: `squashfs`, `ext4`, ..."""
    tree: Tree

    @property
    def path(self) -> Path:
        """Where it will stand."""
        return self.file.path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size

    @property
    def digest(self) -> Digest:
        """The sha256 of the bytes in the file; waits until it is known."""
        return self.file.digest


@dataclass(frozen=True, slots=True)
class ManifestSection:
    """A top-level key of manifest.json; `value` is JSON."""

    name: str
    value: Any
