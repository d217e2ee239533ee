"""OCI image layouts (image-spec image-layout.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fledge.errors import BuildError
from fledge.image.access import BlobNotFoundError, ImageNotFoundError
from fledge.image.descriptor import Descriptor
from fledge.image.documents import OCI_INDEX, Index, IndexEntry, parse_document
from fledge.image.fields import DOCUMENT_LIMIT, load_object
from fledge.values import Digest

from fledge_transport_archive.files import Files, read

_REF_NAME: Final = "org.opencontainers.image.ref.name"


class LayoutImage:
    """One image of a layout: an `fledge.image.access.ImageAccess`."""

    def __init__(self, files: Files, tag: str | None) -> None:
        """Raises ImageNotFoundError when there is no such image, BuildError when `files` are no layout."""
        self._files = files
        self._index = _read_index(files)
        self._media_types: dict[Digest, str] = {}
        index = parse_document(self._index, OCI_INDEX, f"{files.where}: index.json")
        assert isinstance(index, Index)
        self._top = self._choose(index.entries, tag)

    def resolve(self) -> Digest | None:
        """See ImageAccess.resolve."""
        return self._top

    def manifest(self, digest: Digest | None) -> tuple[str | None, bytes]:
        """See ImageAccess.manifest."""
        if digest is None:
            return OCI_INDEX, self._index
        data = read(self._files, _blob_name(digest), DOCUMENT_LIMIT)
        if data is None:
            raise self._missing(digest)
        return self._media_types.get(digest), data

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """See ImageAccess.blob."""
        name = _blob_name(descriptor.digest)
        if self._files.size(name) is None:
            raise self._missing(descriptor.digest)
        return self._files.chunks(name)

    def _choose(self, entries: tuple[IndexEntry, ...], tag: str | None) -> Digest | None:
        """The digest of the one that is meant; None where it is the layout's index as a whole."""
        found = [one for one in entries if tag is None or one.annotations.get(_REF_NAME) == tag]
        tags = sorted({name for one in entries if (name := one.annotations.get(_REF_NAME))})
        listing = f"; it has: {', '.join(tags) if tags else 'one without a tag' if len(entries) == 1 else 'no tags'}"
        if not found:
            wanted = f"no image with the tag {tag!r}" if tag is not None else "no image"
            raise ImageNotFoundError(f"{self._files.where} has {wanted}{listing if entries else ''}")
        if len({one.descriptor.digest for one in found}) == 1:
            self._media_types[found[0].descriptor.digest] = found[0].descriptor.media_type
            return found[0].descriptor.digest
        # Several without different tags are one image for several platforms: the layout's index is its index.
        if len(found) == len(entries) and len(tags) <= 1:
            return None
        what = "several images" if tag is None else f"several images with the tag {tag!r}"
        raise BuildError(f"{self._files.where} has {what}{listing}", hint="name one: oci:PATH:TAG")

    def _missing(self, digest: Digest) -> BlobNotFoundError:
        return BlobNotFoundError(f"{self._files.where}: the blob {digest} is not there")


def _read_index(files: Files) -> bytes:
    layout = read(files, "oci-layout", DOCUMENT_LIMIT)
    index = read(files, "index.json", DOCUMENT_LIMIT)
    if layout is None or index is None:
        missing = "oci-layout" if layout is None else "index.json"
        raise BuildError(f"{files.where} is not an OCI image layout: {missing} is not there")
    version = load_object(layout, f"{files.where}: oci-layout").text("imageLayoutVersion")
    if version is None or not version.startswith("1."):
        raise BuildError(f"{files.where}: oci-layout: imageLayoutVersion {version!r}; 1.0.0 is supported")
    return index


def _blob_name(digest: Digest) -> str:
    # A parsed digest has no '/' and no '..' in it.
    return f"blobs/{digest.algorithm}/{digest.hex}"
