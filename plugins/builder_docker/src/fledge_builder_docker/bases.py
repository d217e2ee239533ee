"""Base images with a transport (`FROM oci:./base:1`): Fledge fetches them, and loads them into the engine."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from fledge.sources import ImageSource


def write_archive(image: ImageSource, name: str, path: Path) -> None:
    """An archive as `docker image load` takes it (Docker's image-spec v1.2), with one image called `name`."""
    config = f"{image.digest.hex}.json"
    layers = [f"{layer.diff_id.hex}.tar" for layer in image.layers]
    manifest = [{"Config": config, "RepoTags": [f"{name}:latest"], "Layers": layers}]
    with tarfile.open(path, "w") as archive:
        for file, data in ((config, image.config.raw), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(file)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for file, layer in dict(zip(layers, image.layers, strict=True)).items():
            archive.add(layer.source.path, file)
