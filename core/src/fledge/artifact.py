"""What a build makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fledge.tree.tree import Tree
from fledge.values import Digest


@dataclass(frozen=True, slots=True)
class Artifact:
    """A packed artifact; its bytes are final and on disk under a temporary name."""

    path: Path
    """Where it will stand."""
    kind: Literal["rootfs", "initramfs"]
    """The manifest's boot medium that it is."""
    format: str
    """The filesystem's name: `squashfs`, `ext4`, ..."""
    size: int
    digest: Digest
    tree: Tree


@dataclass(frozen=True, slots=True)
class ManifestSection:
    """A top-level key of manifest.json; `value` is JSON."""

    name: str
    value: Any
