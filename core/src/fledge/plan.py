"""fledge.toml, manifest.toml and the flags, settled into one frozen plan."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fledge.values import GuestPath, Platform

if TYPE_CHECKING:
    from fledge.options import Options


@dataclass(frozen=True, slots=True)
class Choice:
    """A driver that the config names, with its validated options."""

    name: str
    options: Options


@dataclass(frozen=True, slots=True)
class Mapping:
    """A file or folder of the host and where it goes in the guest."""

    source: Path
    """Absolute."""
    destination: GuestPath
    into: bool = False
    """The destination was written with a trailing `/`: a file goes into it under its own name."""
    origin: str = "fledge.toml"
    """Who asks for it, for messages."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """All that is decided before anything is fetched."""

    base_dir: Path
    """Absolute; what relative host paths are relative to."""
    strategy: Choice
    filesystem: Choice
    agent: Choice | None
    """None: no agent (`source_strategy = "none"`, or an init mode without one)."""
    mappings: tuple[Mapping, ...]
    manifest: MappingType[str, Any]
    """The validated manifest.toml, as JSON-like data; only what the user wrote."""
    platform: Platform
    artifact_kind: Literal["rootfs", "initramfs"] = "rootfs"
    """The strategy's: which boot medium of the manifest the artifact is."""
    output: Path | None = None
    """Absolute; None: the strategy names the artifact, in the current folder."""
    artifact_url: str | None = None
    epoch: int | None = None
    """SOURCE_DATE_EPOCH, seconds."""
    own_init: bool = False
    """Process 1 is the user's own (`[init] path` or `none`), and no agent or workload of the manifest is started."""
    name: str = "image"
    """The image's: of manifest.toml, else of the image's path, else of the folder."""
