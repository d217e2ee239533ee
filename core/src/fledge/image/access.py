"""What a transport must offer so that `fledge.image.pull` can fetch an image through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fledge.errors import BuildError
from fledge.image.descriptor import Descriptor
from fledge.values import Digest


class ImageNotFoundError(BuildError):
    """The transport has no such image, or no such image for the platform: another transport may have it."""


class BlobNotFoundError(BuildError):
    """The image is there, but not this blob of it."""


class ImageAccess(Protocol):
    """One image of one transport. Its methods are called from several threads at once."""

    def resolve(self) -> Digest | None:
        """The digest of what the reference names at this moment; None where only `manifest` can tell.

        Raises ImageNotFoundError.
        """

    def manifest(self, digest: Digest | None) -> tuple[str | None, bytes]:
        """The media type as it is announced, and the bytes, not verified, of at most DOCUMENT_LIMIT + 1 bytes.

        `digest`: None for what the reference names. Raises ImageNotFoundError, BlobNotFoundError.
        """

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """The blob in chunks, not verified. Resumes by itself where a connection breaks. Raises BlobNotFoundError."""
