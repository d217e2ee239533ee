"""Descriptors: how OCI documents point at blobs (image-spec descriptor.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fledge.errors import BuildError
from fledge.values import Digest


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob's media type, digest and size in bytes; `data` is the blob itself where the document embeds it."""

    media_type: str
    digest: Digest
    size: int
    data: bytes | None = None

    def check(self, data: bytes, what: str) -> bytes:
        """`data`, which is the blob. Raises BuildError, beginning with `what`, when its size or digest is another."""
        if len(data) != self.size:
            raise BuildError(f"{what} is {len(data)} bytes; {self.size} are announced")
        check_digest(data, self.digest, what)
        return data


def check_digest(data: bytes, digest: Digest, what: str) -> None:
    """Raises BuildError, beginning with `what`, when the digest of `data` is another."""
    found = hashlib.new(digest.algorithm, data).hexdigest()
    if found != digest.hex:
        raise BuildError(f"{what} has the digest {digest.algorithm}:{found}; it must be {digest}")
