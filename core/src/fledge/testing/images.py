"""Small images for tests of transports, made with Python's own tarfile, gzip and json, and wrong wherever a test wants."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fledge.image.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

Json = dict[str, Any]


def tar(files: Mapping[str, bytes]) -> bytes:
    """A tar of regular files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def gzipped(data: bytes) -> bytes:
    """The same bytes each time."""
    return gzip.compress(data, 1, mtime=0)


class Blobs:
    """Blobs by digest, and the documents that connect them. Every method returns a descriptor, as JSON."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self.algorithm = algorithm
        self.by_digest: dict[str, bytes] = {}

    def add(self, data: bytes, media_type: str, /, **more: Any) -> Json:
        """A blob."""
        digest = f"{self.algorithm}:{hashlib.new(self.algorithm, data).hexdigest()}"
        self.by_digest[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def document(self, value: Json, media_type: str, /, **more: Any) -> Json:
        """A JSON document."""
        return self.add(json.dumps(value).encode(), media_type, **more)

    def config(self, diff_ids: list[str], platform: str = "linux/amd64", **more: Any) -> Json:
        """An image config; `more` are its further members."""
        system, architecture, *variant = platform.split("/")
        value: Json = {"os": system, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        if variant:
            value["variant"] = variant[0]
        return self.document({**value, **more}, OCI_CONFIG)

    def manifest(self, config: Json, layers: list[Json], **more: Any) -> Json:
        """A manifest; `more` are its further members."""
        value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers, **more}
        return self.document(value, OCI_MANIFEST)

    def image(
        self,
        *tars: bytes,
        platform: str = "linux/amd64",
        compress: Callable[[bytes], bytes] = gzipped,
        **config: Any,
    ) -> Json:
        """A whole image of layers; the manifest's descriptor has the platform."""
        diff_ids = [f"{self.algorithm}:{hashlib.new(self.algorithm, data).hexdigest()}" for data in tars]
        layers = [self.add(compress(data), f"{OCI_LAYER}+gzip") for data in tars]
        manifest = self.manifest(self.config(diff_ids, platform, **config), layers)
        system, architecture, *variant = platform.split("/")
        told = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        return {**manifest, "platform": told}

    def index(self, *entries: Json, **more: Any) -> Json:
        """An index."""
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}
        return self.document(value, OCI_INDEX)

    def layout(self, folder: Path, tops: Mapping[str, Json]) -> Path:
        """Writes an OCI layout with an entry for each tag."""
        folder.mkdir(parents=True, exist_ok=True)
        for digest, data in self.by_digest.items():
            path = folder / "blobs" / digest.replace(":", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        entries = [{**top, "annotations": {"org.opencontainers.image.ref.name": tag}} for tag, top in tops.items()]
        folder.joinpath("oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        folder.joinpath("index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        return folder
