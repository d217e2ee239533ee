"""What every transport must do, with a registry on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fledge import retry
from fledge.testing.conformance.transport import Publish, TransportConformance
from fledge.testing.http import Answer, Asked, serving
from fledge.testing.images import Blobs, Json


class TestRegistry(TransportConformance):
    name = "docker"

    @pytest.fixture
    def publish(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publish]:
        monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
        with serving(lambda asked: Answer(404)) as server:

            def publish(blobs: Blobs, top: Json | None) -> str:
                def answer(asked: Asked) -> Answer:
                    name = asked.path.rpartition("/")[2]
                    digest = name if top is None or name != "tag" else top["digest"]
                    data = blobs.by_digest.get(digest)
                    if data is None:
                        return Answer(404)
                    kind = "application/octet-stream"
                    if "/manifests/" in asked.path:
                        index = b'"manifests"' in data
                        kind = f"application/vnd.oci.image.{'index' if index else 'manifest'}.v1+json"
                    return Answer(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest})

                server.behaviour = answer
                return f"//{server.url.removeprefix('http://')}/app:tag"

            yield publish
