"""An image of the store as an OCI layout (image-spec image-layout.md), for programs that read one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fledge.image.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from fledge.sources import ImageSource
from fledge.values import Digest


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
