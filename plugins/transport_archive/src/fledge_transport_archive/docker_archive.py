"""What `docker save` writes: manifest.json, configs and layers (Docker's image-spec v1.2).

Old versions keep a layer at `<id>/layer.tar`, as a symlink where two images share it; since version 25 the archive
is an OCI layout as well, and manifest.json points into its blobs.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from fledge.errors import BuildError
from fledge.image.access import BlobNotFoundError, ImageNotFoundError
from fledge.image.descriptor import Descriptor
from fledge.image.documents import DOCKER_LAYER
from fledge.image.fields import DOCUMENT_LIMIT, Fields, load_objects
from fledge.image.parse_config import parse_config
from fledge.image.platforms import same_architecture
from fledge.image.pull import pull_layers
from fledge.sources import ImageRequest, ImageSource
from fledge.values import Digest

from fledge_transport_archive.files import Files, read

if TYPE_CHECKING:
    from fledge.context import BuildContext

_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip (RFC 1952) and zstd (RFC 8878) begin."""
_CONFIG_NAME: Final = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


def fetch(files: Files, name: str | None, request: ImageRequest, context: BuildContext) -> ImageSource:
    """The image `name` of an archive; None: the only one.

    Raises ImageNotFoundError when there is no such image or not for the platform, BuildError when the archive is
    malformed.
    """
    data = read(files, "manifest.json", DOCUMENT_LIMIT)
    if data is None:
        raise BuildError(f"{files.where} is not an archive of docker save: manifest.json is not there")
    image = _choose(files.where, load_objects(data, f"{files.where}: manifest.json"), name)
    config_name = image.text("Config") or ""
    raw = read(files, config_name, DOCUMENT_LIMIT)
    if raw is None:
        image.fail("Config", f"{config_name!r} is not in the archive")
    digest = Digest.of(raw)
    if (named := _CONFIG_NAME.fullmatch(config_name)) is not None and named[1] != digest.hex:
        raise BuildError(f"{files.where}: {config_name} has the digest {digest}; its name says another")
    paths = image.texts("Layers")
    config = parse_config(raw, f"{files.where}: {config_name}", request.platform, len(paths))
    if not same_architecture(config.platform, request.platform):
        raise ImageNotFoundError(f"{request.reference} has no image for {request.platform}; it has: {config.platform}")
    layers = {
        diff_id: _layer(files, path, diff_id, context) for path, diff_id in zip(paths, config.diff_ids, strict=True)
    }
    names = {layers[diff_id].digest: path for path, diff_id in zip(paths, config.diff_ids, strict=True)}
    found = pull_layers(
        context,
        str(request.reference),
        [layers[diff_id] for diff_id in config.diff_ids],
        config.diff_ids,
        lambda descriptor: files.chunks(names[descriptor.digest]),
    )
    return ImageSource(request.reference, digest, config, found)


def _layer(files: Files, path: str, diff_id: Digest, context: BuildContext) -> Descriptor:
    """A layer has no digest but its diff_id, unless it is compressed: then that of the file is made up for it."""
    from fledge.tree.layer import find_layer

    size = files.size(path)
    if size is None:
        raise BlobNotFoundError(f"{files.where}: the layer {path!r} is not there")
    digest = diff_id
    if next(files.chunks(path), b"").startswith(_COMPRESSED) and find_layer(context.store, diff_id) is None:
        hasher = hashlib.sha256()
        for chunk in files.chunks(path):
            hasher.update(chunk)
        digest = Digest("sha256", hasher.hexdigest())
    return Descriptor(DOCKER_LAYER, digest, size)


def _choose(where: str, images: tuple[Fields, ...], name: str | None) -> Fields:
    tags = {tag: image for image in images for tag in image.texts("RepoTags")}
    listing = ", ".join(sorted(tags)) or "no names"
    if name is None:
        if len(images) == 1:
            return images[0]
        raise BuildError(f"{where} has {len(images)} images: {listing}", hint="name one: docker-archive:FILE:NAME")
    for tag, image in tags.items():
        if _familiar(tag) == _familiar(name):
            return image
    raise ImageNotFoundError(f"{where} has no image with the name {name!r}; it has: {listing}")


def _familiar(name: str) -> str:
    """`docker.io/library/nginx` as `nginx:latest`, in which form Docker writes names."""
    name = name.removeprefix("docker.io/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
