"""Against a real dockerd that the tests start, with its own root and socket."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.options import NoOptions
from fledge.sources import ImageReference, ImageRequest, ImageSource
from fledge.testing import builders
from fledge.testing.builds import context
from fledge.testing.images import Blobs, tar
from fledge.testing.oracles import need_tool, run
from fledge.values import Platform
from fledge_transport_docker import engine
from fledge_transport_docker.driver import DockerDaemon

ONE = tar({"etc/one": b"1" * 3_000_000})
TWO = tar({"etc/two": b"2"})

Fetch = Callable[..., ImageSource]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: a unix socket's has at most 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="fledge-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[str]:
    """Its DOCKER_HOST."""
    need_tool("skopeo")
    with builders.dockerd(folder) as host:
        yield host


@pytest.fixture
def build(tmp_path: Path) -> BuildContext:
    return context(tmp_path / "cache", environ={})


@pytest.fixture
def fetch(build: BuildContext) -> Fetch:
    def run(host: str, name: str, platform: str = "linux/amd64") -> ImageSource:
        build.environ["DOCKER_HOST"] = host  # type: ignore[index]
        driver = DockerDaemon("docker-daemon", NoOptions(), build)
        return driver.fetch_image(ImageRequest(ImageReference("docker-daemon", name), Platform.parse(platform)))

    return run


def load(host: str, folder: Path, name: str, *tars: bytes, **config: Any) -> None:
    """skopeo, not our own code, gives the daemon an image."""
    blobs = Blobs()
    layout = blobs.layout(folder / "layout", {"1": blobs.image(*tars, **config)})
    run("skopeo", "copy", "-q", f"--dest-daemon-host={host}", f"oci:{layout}:1", f"docker-daemon:{name}")
    # skopeo does not wait until the daemon has given the image its name.
    wanted = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
    deadline = time.monotonic() + 30
    while layers_of(host, name) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def layers_of(host: str, name: str) -> list[str]:
    """The diff_ids of the image that has this name by now, as the daemon itself tells."""
    path = f"http://docker/images/{name}/json"
    answer = run("curl", "-sS", "--unix-socket", host.removeprefix("unix://"), path).stdout
    return json.loads(answer).get("RootFS", {}).get("Layers", [])


def test_an_image_and_its_second_fetch(
    daemon: str, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(daemon, tmp_path, "app:1", ONE, TWO, config={"Cmd": ["x"], "ExposedPorts": {"80/tcp": {}}})
    image = fetch(daemon, "app:1")
    assert [layer.index.paths for layer in image.layers] == [[b"etc/one"], [b"etc/two"]]
    assert (image.config.cmd, image.config.exposed_ports) == (("x",), ("80/tcp",))
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    # Nothing but a question about the name goes to the daemon again.
    monkeypatch.setattr(engine.Engine, "export", None)
    again = fetch(daemon, "app:1")
    assert (again.digest, again.config) == (image.digest, image.config)
    assert [layer.index.paths for layer in again.layers] == [[b"etc/one"], [b"etc/two"]]
    assert fetch(daemon, str(image.digest)).digest == image.digest


def test_a_name_that_moves(daemon: str, fetch: Fetch, tmp_path: Path) -> None:
    for number, data in enumerate((TWO, ONE)):
        load(daemon, tmp_path / str(number), "moving:latest", data)
        assert fetch(daemon, "moving").digest is not None
    assert [layer.index.paths for layer in fetch(daemon, "docker.io/library/moving").layers] == [[b"etc/one"]]


def test_a_layer_that_went_from_the_store(daemon: str, fetch: Fetch, build: BuildContext, tmp_path: Path) -> None:
    load(daemon, tmp_path, "app:2", ONE, TWO)
    image = fetch(daemon, "app:2")
    shutil.rmtree(build.store.layer_path(image.config.diff_ids[0]))
    assert len(fetch(daemon, "app:2").layers) == 2


def test_case_066_another_platform(daemon: str, fetch: Fetch, tmp_path: Path) -> None:
    load(daemon, tmp_path, "arm:1", ONE, platform="linux/amd64")
    with pytest.raises(ImageNotFoundError, match="has arm:1 for linux/amd64, not for linux/arm64"):
        fetch(daemon, "arm:1", "linux/arm64")


@pytest.mark.parametrize("name", ["nope", "nope:1", "a/b/c:d", "sha256:" + "0" * 64])
def test_no_such_image(daemon: str, fetch: Fetch, name: str) -> None:
    with pytest.raises(ImageNotFoundError, match=f"has no image '{name}'$"):
        fetch(daemon, name)


@pytest.mark.parametrize("name", ["x?y=1", "../version", "a b", "x#y", "%2e%2e/version", "A"])
def test_names_that_are_none(daemon: str, fetch: Fetch, name: str) -> None:
    with pytest.raises(BuildError, match=r"has no image|answered [34]\d\d for|not valid JSON|malformed") as caught:
        fetch(daemon, name)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            "unix:///nonexistent/docker.sock",
            "no Docker daemon answers at unix:///nonexistent/docker.sock: No such file",
        ),
        ("tcp://127.0.0.1:1", "no Docker daemon answers at tcp://127.0.0.1:1: Connection refused"),
        ("ssh://host", "DOCKER_HOST is 'ssh://host'; unix://PATH and"),
        ("tcp://", "DOCKER_HOST is 'tcp://'; unix://PATH and"),
    ],
)
def test_no_daemon(fetch: Fetch, host: str, message: str) -> None:
    # Not found, so that a bare reference goes on to the registry.
    with pytest.raises(ImageNotFoundError, match=message):
        fetch(host, "app")


def test_a_daemon_over_tcp_that_breaks_off(fetch: Fetch, build: BuildContext) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    document = b'{"Id": "sha256:' + b"0" * 64 + b'", "Os": "linux", "Architecture": "amd64", "Size": 9}'
    replies = [answer + b"%x\r\n%s\r\n0\r\n\r\n" % (len(document), document), answer + b"ff\r\nshort"]

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for reply in replies:
                connection, _ = listener.accept()
                with closing(connection):
                    connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(BuildError, match="broke off at app"):
            fetch(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "app")
        thread.join()
    assert list((build.store.folder / "tmp").iterdir()) == []
