"""What every transport must do, with layouts and archives on disk."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from fledge.testing.conformance.transport import Publish, TransportConformance
from fledge.testing.images import Blobs, Json


class TestOciLayout(TransportConformance):
    name = "oci"

    @pytest.fixture
    def publish(self, tmp_path: Path) -> Publish:
        def publish(blobs: Blobs, top: Json | None) -> str:
            blobs.layout(tmp_path / "layout", {} if top is None else {"tag": top})
            return f"{tmp_path}/layout:tag"

        return publish


class TestOciArchive(TransportConformance):
    name = "oci-archive"

    @pytest.fixture
    def publish(self, tmp_path: Path) -> Publish:
        def publish(blobs: Blobs, top: Json | None) -> str:
            layout = blobs.layout(tmp_path / "layout", {} if top is None else {"tag": top})
            with tarfile.open(tmp_path / "image.tar", "w") as archive:
                archive.add(layout, ".")
            return f"{tmp_path}/image.tar:tag"

        return publish


class TestDockerArchive(TransportConformance):
    name = "docker-archive"
    indexes = False
    serves_blobs = False

    @pytest.fixture
    def publish(self, tmp_path: Path) -> Publish:
        def publish(blobs: Blobs, top: Json | None) -> str:
            entries = []
            with tarfile.open(tmp_path / "image.tar", "w") as archive:

                def add(name: str, data: bytes) -> str:
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
                    return name

                if top is not None:
                    manifest = json.loads(blobs.by_digest[top["digest"]])
                    layers = [
                        add(f"{one['digest'][7:]}/layer.tar", blobs.by_digest[one["digest"]])
                        for one in manifest["layers"]
                    ]
                    config = manifest["config"]["digest"]
                    name = add(f"{config[7:]}.json", blobs.by_digest[config])
                    entries.append({"Config": name, "RepoTags": ["app:tag"], "Layers": layers})
                add("manifest.json", json.dumps(entries).encode())
            return f"{tmp_path}/image.tar:app:tag"

        return publish
