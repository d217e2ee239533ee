"""Manifests and indexes: parsed from bytes that nobody has vouched for (image-spec manifest.md, image-index.md).

Docker's schema 2 documents have the same members under other media types, so one parser reads both.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from fledge.errors import BuildError
from fledge.image.descriptor import Descriptor
from fledge.image.fields import Fields, load_object
from fledge.values import Platform

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+"

INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

ACCEPTED: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""What to ask a registry for."""

_FOREIGN: Final = frozenset(
    {
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    }
)
_LAYERS: Final = frozenset({OCI_LAYER, DOCKER_LAYER}) | _FOREIGN
_COMPRESSIONS: Final = (".gzip", "+gzip", ".zstd", "+zstd")


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image for one platform; `layers` lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A manifest or index in an index; `platform` is None where the index does not tell."""

    descriptor: Descriptor
    platform: Platform | None
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests for several platforms, or further indexes, in the order of the document."""

    entries: tuple[IndexEntry, ...]


def parse_document(data: bytes, media_type: str | None, what: str) -> Manifest | Index:
    """The manifest or index in `data`, whose digest has been verified.

    `media_type`: what the Content-Type header or the descriptor says, None where nothing does; `what` begins every
    message. Raises BuildError for anything that two readers could take for two things (CVE-2021-41190), for Docker's
    schema 1, and for artifacts that are no images.
    """
    fields = load_object(data, what)
    declared = fields.text("mediaType")
    told = (media_type or "").partition(";")[0].strip().lower() or None
    kind = declared or told
    if (kind or "").startswith(_SCHEMA1) or fields.number("schemaVersion") == 1:
        raise BuildError(
            f"{what} is of Docker's image format schema 1, which has no verifiable layers; schema 2 and OCI are supported",
            hint="push the image again with a current docker, podman or skopeo",
        )
    if fields.number("schemaVersion") != 2:
        fields.fail("schemaVersion", "2 is the only one allowed")
    if declared and told and declared != told:
        fields.fail("mediaType", f"{declared!r} is not what it was announced as, {told!r}")
    if kind is None:
        kind = OCI_INDEX if "manifests" in fields else OCI_MANIFEST
    if kind in INDEXES:
        _refuse(fields, kind, "layers", "config", "fsLayers")
        return Index(tuple(_index_entry(one) for one in fields.objects("manifests")))
    if kind in MANIFESTS:
        _refuse(fields, kind, "manifests", "fsLayers")
        return _manifest(fields)
    raise BuildError(f"{what} has the media type {kind!r}; supported: {', '.join(ACCEPTED)}")


def is_foreign(descriptor: Descriptor) -> bool:
    """Whether the layer may not stand in the registry but elsewhere (image-spec layer.md, "Non-Distributable Layers")."""
    return _uncompressed(descriptor.media_type) in _FOREIGN


def _refuse(fields: Fields, kind: str, *keys: str) -> None:
    for key in keys:
        if key in fields:
            fields.fail(key, f"a document of the type {kind!r} can't have it: it would be two documents in one")


def _manifest(fields: Fields) -> Manifest:
    config = fields.object("config")
    if config is None:
        fields.fail("config", "missing")
    descriptor = _descriptor(config)
    if descriptor.media_type not in CONFIGS:
        kind = fields.text("artifactType") or descriptor.media_type
        raise BuildError(f"{fields.where} is not a container image but an artifact of the type {kind!r}")
    layers = []
    for layer in fields.objects("layers"):
        layers.append(_descriptor(layer))
        if _uncompressed(layers[-1].media_type) not in _LAYERS:
            layer.fail("mediaType", f"{layers[-1].media_type!r} is not a layer: a tar, plain or with gzip or zstd")
    return Manifest(descriptor, tuple(layers))


def _uncompressed(media_type: str) -> str:
    for suffix in _COMPRESSIONS:
        if media_type.endswith(suffix):
            return media_type.removesuffix(suffix)
    return media_type


def _index_entry(fields: Fields) -> IndexEntry:
    platform = None
    if (told := fields.object("platform")) is not None:
        system, architecture = told.text("os"), told.text("architecture")
        if system is not None and architecture is not None:
            platform = Platform(system, architecture, told.text("variant"))
    annotations = {}
    if (notes := fields.object("annotations")) is not None:
        annotations = {key: notes.text(key) or "" for key in notes}
    return IndexEntry(_descriptor(fields), platform, annotations)


def _descriptor(fields: Fields) -> Descriptor:
    media_type, size = fields.text("mediaType"), fields.number("size")
    if media_type is None:
        fields.fail("mediaType", "missing")
    if size is None:
        fields.fail("size", "missing")
    descriptor = Descriptor(media_type, fields.digest("digest"), size)
    text = fields.text("data")
    if text is None:
        return descriptor
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        fields.fail("data", "not base64")
    descriptor.check(data, f"{fields.where}: data")
    return Descriptor(media_type, descriptor.digest, size, data)
