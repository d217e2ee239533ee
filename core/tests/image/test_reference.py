from __future__ import annotations

import socket
from pathlib import Path

import pytest
from fledge.errors import UsageError
from fledge.image import reference
from fledge.image.reference import candidates, parse_reference

ALL = ["docker", "docker-archive", "docker-daemon", "oci", "oci-archive"]


@pytest.mark.parametrize(
    ("text", "transport", "name"),
    [
        ("nginx", "docker", "//nginx"),
        ("nginx:alpine", "docker", "//nginx:alpine"),
        ("localhost:5000/x:tag", "docker", "//localhost:5000/x:tag"),
        ("127.0.0.1:5000/x@sha256:ab", "docker", "//127.0.0.1:5000/x@sha256:ab"),
        ("docker://nginx:alpine", "docker", "//nginx:alpine"),
        ("oci:./layout:tag", "oci", "./layout:tag"),
        ("oci:/a/layout", "oci", "/a/layout"),
        ("oci-archive:x.tar", "oci-archive", "x.tar"),
        ("docker-archive:x.tar:nginx:alpine", "docker-archive", "x.tar:nginx:alpine"),
        ("docker-daemon:nginx:alpine", "docker-daemon", "nginx:alpine"),
        ("dir:/x", "dir", "/x"),
        ("s3://bucket/x", "s3", "//bucket/x"),
        ("vendor:thing", "vendor", "thing"),
    ],
)
def test_references(text: str, transport: str, name: str) -> None:
    found = parse_reference(text, [*ALL, "vendor"])
    assert (found.transport, found.name) == (transport, name)
    assert parse_reference(str(found), [*ALL, "vendor"]) == found


def test_a_word_that_is_no_transport_is_a_repository() -> None:
    assert parse_reference("vendor:thing", ALL).name == "//vendor:thing"


@pytest.mark.parametrize("text", ["", " nginx", "nginx\n", "oci:", "docker://", "docker:nginx", "a\0b"])
def test_malformed(text: str) -> None:
    with pytest.raises(UsageError, match="malformed image reference"):
        parse_reference(text, ALL)


@pytest.fixture
def no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "docker.sock"
    monkeypatch.setattr(reference, "DAEMON_SOCKET", str(path))
    return path


def asked(text: str, environ: dict[str, str], installed: list[str] = ALL) -> list[str]:
    return [str(one) for one in candidates(text, environ, installed)]


def test_a_bare_reference_without_a_daemon(no_daemon: Path) -> None:
    assert asked("nginx:alpine", {}) == ["docker://nginx:alpine"]


def test_a_dead_daemons_socket(no_daemon: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(no_daemon))
    assert asked("nginx", {}) == ["docker://nginx"]


def test_the_default_socket_answers(no_daemon: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(no_daemon))
        listener.listen()
        assert asked("nginx", {}) == ["docker-daemon:nginx", "docker://nginx"]
        assert asked("docker://nginx", {}) == ["docker://nginx"]
        assert asked("nginx", {}, ["docker"]) == ["docker://nginx"]


def test_docker_host_is_set(no_daemon: Path) -> None:
    assert asked("nginx", {"DOCKER_HOST": "tcp://x"}) == ["docker-daemon:nginx", "docker://nginx"]
    assert asked("nginx", {"DOCKER_HOST": ""}) == ["docker://nginx"]
    assert asked("oci:x", {"DOCKER_HOST": "tcp://x"}) == ["oci:x"]
