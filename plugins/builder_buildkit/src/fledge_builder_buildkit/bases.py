"""Base images with a transport (`FROM oci:./base:1`): Fledge fetches them, and hands them to the daemon as OCI layouts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fledge.errors import BuildError
from fledge.image.bases import rename_bases
from fledge.image.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from fledge.image.reference import parse_reference
from fledge.sources import DockerfileRequest, ImageRequest, ImageSource
from fledge.values import Digest


def hand_over(
    request: DockerfileRequest, fetch_base: Callable[[ImageRequest], ImageSource], folder: Path
) -> tuple[DockerfileRequest, Sequence[str]]:
    """The request with a Dockerfile in `folder` that calls the base images by names of ours, and flags that say what those are.

    Without such base images, the request as it is. Raises BuildError.
    """
    flags: list[str] = []
    names: dict[str, str] = {}

    def name_of(base: str) -> str:
        if base not in names:
            names[base] = name = f"fledge-base-{len(names)}"
            image = fetch_base(ImageRequest(parse_reference(base), request.platform, request.base_dir))
            digest = write_layout(image, folder / name)
            flags.extend(("--oci-layout", f"{name}={folder / name}"))
            flags.extend(("--opt", f"context:{name}=oci-layout://{name}@{digest}"))
        return names[base]

    dockerfile = request.dockerfile
    try:
        text = rename_bases(dockerfile.read_text(encoding="utf-8", errors="surrogateescape"), name_of)
        if not names:
            return request, ()
        renamed = folder / dockerfile.name
        renamed.write_text(text, encoding="utf-8", errors="surrogateescape")
        # BuildKit looks for a .dockerignore of its own beside a Dockerfile.
        ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
        if ignore.exists():
            shutil.copy(ignore, folder)
    except OSError as error:
        raise BuildError(f"can't read {dockerfile}: {error.strerror}") from error
    return replace(request, dockerfile=renamed), flags


def write_layout(image: ImageSource, folder: Path) -> Digest:
    """An OCI layout of one image, whose layers are symlinks to the store's tars; its manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
        digest = Digest.of(data)
        (blobs / digest.hex).write_bytes(data)
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}

    layers = []
    for layer in image.layers:
        link = folder / "blobs" / layer.diff_id.algorithm / layer.diff_id.hex
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(layer.source.path)
        layers.append({"mediaType": OCI_LAYER, "digest": str(layer.diff_id), "size": layer.source.size})
    config = descriptor(image.config.raw, OCI_CONFIG)
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    manifest = descriptor(json.dumps(document).encode(), OCI_MANIFEST)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return Digest.parse(manifest["digest"])
