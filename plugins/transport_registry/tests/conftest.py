from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fledge import retry
from fledge.context import BuildContext
from fledge.image.documents import OCI_MANIFEST
from fledge.options import NoOptions
from fledge.sources import ImageReference, ImageRequest, ImageSource
from fledge.testing.builds import Log, context
from fledge.testing.http import Answer, Asked, Server, serving
from fledge.testing.images import Blobs, Json
from fledge.values import Platform
from fledge_transport_registry.driver import Registry

Fetch = Callable[..., ImageSource]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)


@pytest.fixture
def build(tmp_path: Path, fledge_log: Log) -> BuildContext:
    """A context whose environment a test may change."""
    return context(tmp_path / "cache", fledge_log, {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")})


@pytest.fixture
def fetch(build: BuildContext) -> Fetch:
    """Fetches what a reference names, as a build does: `fetch("127.0.0.1:5000/app:tag", "linux/amd64")`."""

    def run(name: str, platform: str = "linux/amd64") -> ImageSource:
        reference = ImageReference("docker", f"//{name}")
        driver = Registry("docker", NoOptions(), build)
        return driver.fetch_image(ImageRequest(reference, Platform.parse(platform)))

    return run


class FakeRegistry:
    """A registry with the repository `app` and its tag `1`, that behaves until a test tells it otherwise.

    `wrong`: asked before everything else; None where it has nothing to say.
    """

    def __init__(self) -> None:
        self.blobs = Blobs()
        self.top: Json = {}
        self.server: Server
        self.wrong: Callable[[Asked], Answer | None] = lambda asked: None

    @property
    def host(self) -> str:
        return self.server.url.removeprefix("http://")

    def answer(self, asked: Asked) -> Answer:
        return self.wrong(asked) or self.well(asked)

    def well(self, asked: Asked) -> Answer:
        what, name = asked.path.split("/")[-2:]
        digest = self.top["digest"] if name == "1" else name
        data = self.blobs.by_digest.get(digest)
        if data is None:
            return Answer(404, b'{"errors": [{"code": "NOT_FOUND", "message": "it is\\nnot here"}]}')
        if what == "manifests":
            kind = self.top["mediaType"] if digest == self.top["digest"] else OCI_MANIFEST
            return Answer(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest})
        if (wanted := asked.headers.get("range")) is not None:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            return Answer(206, data[begin:], {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"})
        return Answer(200, data)

    def asked(self, method: str = "GET", what: str = "") -> list[Asked]:
        return [one for one in self.server.asked if one.method == method and what in one.path]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    fake = FakeRegistry()
    with serving(fake.answer) as fake.server:
        yield fake
