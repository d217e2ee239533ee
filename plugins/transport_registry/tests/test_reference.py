from __future__ import annotations

import pytest
from fledge.errors import UsageError
from fledge_transport_registry.driver import speaks_plain_http
from fledge_transport_registry.reference import RegistryReference

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "full", "endpoint"),
    [
        ("nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"),
        ("//nginx:alpine", "docker.io/library/nginx:alpine", "registry-1.docker.io"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", "registry-1.docker.io"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}", "registry-1.docker.io"),
        ("grafana/loki", "docker.io/grafana/loki:latest", "registry-1.docker.io"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io"),
        ("localhost/x", "localhost/x:latest", "localhost"),
        ("localhost:5000/x:tag", "localhost:5000/x:tag", "localhost:5000"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000"),
        ("R.io/x", "r.io/x:latest", "r.io"),
        ("r.io/a__b/c-d/e.f--g", "r.io/a__b/c-d/e.f--g:latest", "r.io"),
        (f"r.io/x:{'t' * 128}", f"r.io/x:{'t' * 128}", "r.io"),
    ],
)
def test_references(text: str, full: str, endpoint: str) -> None:
    found = RegistryReference.parse(text)
    assert (str(found), found.endpoint) == (full, endpoint)
    assert RegistryReference.parse(full) == found


@pytest.mark.parametrize(
    "text",
    [
        "foo/Bar", "x:", "x:a:b", "x:-a", f"x:{'t' * 129}", "a..b", "a/", "/a", "a//b", "-a", "r.io/", "r.io:x/a",
        "r.io:0/a", "r.io:65536/a", "r_.io/a", "x@", "x@sha256:12", "x@md5:" + "a" * 32, "x y", "r.io/../../etc",
        "r.io/" + "a" * 256, "r.io/a?b", "r.io/a#b", "user@r.io/a", "ä.io/x", "r.io/x:tag\n",
    ],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(UsageError, match="malformed image reference"):
        RegistryReference.parse(text)


def test_upper_case_has_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        RegistryReference.parse("foo/Bar")
    assert caught.value.hint == "repository names are lowercase"


@pytest.mark.parametrize(
    ("name", "insecure", "plain"),
    [
        ("localhost:5000/x", "", True),
        ("127.0.0.1/x", "", True),
        ("127.9.9.9:5000/x", "", True),
        ("[::1]:5000/x", "", True),
        ("10.0.0.5:5000/x", "", False),
        ("10.0.0.5:5000/x", "10.0.0.5:5000", True),
        ("10.0.0.5:5000/x", "a.io, 10.0.0.5", True),
        ("10.0.0.5:5000/x", "10.0.0.5:5001", False),
        ("localhost.example.io/x", "", False),
        ("nginx", "", False),
        ("nginx", "example.io", False),
    ],
)
def test_who_is_asked_without_tls(name: str, insecure: str, plain: bool) -> None:
    environ = {"FLEDGE_INSECURE_REGISTRIES": insecure, "HOME": "/nonexistent"}
    assert speaks_plain_http(RegistryReference.parse(name), environ) is plain
