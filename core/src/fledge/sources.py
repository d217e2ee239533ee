"""What a strategy asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fledge.image.config import ImageConfig
from fledge.values import Digest, Platform

if TYPE_CHECKING:
    from fledge.tree.content import Content
    from fledge.tree.layer import Layer


@dataclass(frozen=True, slots=True)
class ImageReference:
    """`transport:name`, as containers/image writes it: `docker://nginx:alpine`, `oci:./layout:tag`.

    `name` is what follows the transport, verbatim; the transport parses it.
    """

    transport: str
    name: str

    def __str__(self) -> str:
        return f"{self.transport}:{self.name}"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image, from the transport that the reference names."""

    reference: ImageReference
    platform: Platform
    base_dir: str = "."
    """What relative paths in the reference are relative to."""
    others: tuple[ImageReference, ...] = ()
    """Where else to look, in this order, when the transport has no such image."""


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """The agent's binary, from the agent source `driver`."""

    driver: str
    platform: Platform
    base_dir: str = "."
    """What relative paths in the driver's options are relative to."""


@dataclass(frozen=True, slots=True)
class DockerfileRequest:
    """An image that a builder is to make from a Dockerfile."""

    dockerfile: Path
    """Absolute."""
    build_context: Path
    """The folder that it may copy from; absolute."""
    platform: Platform
    driver: str | None = None
    """The builder; None: the first that can do it."""
    target: str | None = None
    """The stage to stop at; None: the last one."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Files that steps may see under an id, and that never go into the image."""
    no_cache: bool = False
    """Do every step anew."""
    base_dir: str = "."
    """What relative paths in references of base images (`FROM oci:./layout`) are relative to."""
    epoch: int | None = None
    """SOURCE_DATE_EPOCH, seconds: the time of what is built, for a builder that can set it."""

    @property
    def dated_args(self) -> Mapping[str, str]:
        """`build_args` with the epoch as SOURCE_DATE_EPOCH, unless they have one: what BuildKit calls `created`."""
        epoch = {} if self.epoch is None else {"SOURCE_DATE_EPOCH": str(self.epoch)}
        return {**epoch, **self.build_args}

    @property
    def reference(self) -> ImageReference:
        """What the image is called in messages, which is the same on every machine for a file below `base_dir`."""
        path = self.dockerfile
        name = f"./{path.relative_to(self.base_dir)}" if path.is_relative_to(self.base_dir) else str(path)
        return ImageReference("dockerfile", name)


Request = ImageRequest | AgentRequest | DockerfileRequest


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A fetched image: every layer verified and indexed in the store, lowest first."""

    reference: ImageReference
    digest: Digest
    """Of the manifest (for archives without one, of the config)."""
    config: ImageConfig
    layers: Sequence[Layer]


@dataclass(frozen=True, slots=True)
class FileSource:
    """One fetched file, verified where a checksum is known."""

    content: Content
    digest: Digest
    origin: str
    """Where it came from, for the log and the manifest: a URL or path."""
    labels: dict[str, str] = field(default_factory=dict)


Source = ImageSource | FileSource
