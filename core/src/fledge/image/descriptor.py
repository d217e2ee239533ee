"""Descriptors: how OCI documents point at blobs (image-spec descriptor.md)."""

from __future__ import annotations

from dataclasses import dataclass

from fledge.values import Digest


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob's media type, digest and size in bytes; `data` is the blob itself where the document embeds it."""

    media_type: str
    digest: Digest
    size: int
    data: bytes | None = None
