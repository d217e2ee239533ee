"""The part of an image config that decides what runs (image-spec config.md, "Properties")."""

from __future__ import annotations

from dataclasses import dataclass

from fledge.values import Digest, Platform


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """A parsed image config. `raw` are the document's bytes as fetched."""

    raw: bytes
    platform: Platform
    diff_ids: tuple[Digest, ...] = ()
    created: int | None = None
    """Nanoseconds since 1970."""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """`NAME=value`, in order."""
    working_dir: str | None = None
    user: str | None = None
    exposed_ports: tuple[str, ...] = ()
    """`80/tcp`; sorted by number."""
    stop_signal: str | None = None
