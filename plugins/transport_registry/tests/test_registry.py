"""Against Debian's docker-registry, with images that skopeo pushed."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.documents import DOCKER_MANIFEST
from fledge.testing.images import Blobs, tar
from fledge.testing.oracles import need_tool, run

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http:
  addr: {address}
{more}"""


@dataclass(frozen=True)
class Running:
    host: str
    """With the port."""


def accepts(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


@contextmanager
def docker_registry(folder: Path, more: str = "", address: str = "127.0.0.1") -> Iterator[Running]:
    program = need_tool("docker-registry")
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(CONFIG.format(root=folder / "storage", address=f"{address}:{port}", more=more))
    log = folder / "registry.log"
    with open(log, "wb") as output:
        process = subprocess.Popen([program, "serve", str(config)], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 20
        while not accepts(address, port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"docker-registry did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield Running(f"{address}:{port}")
    finally:
        process.terminate()
        process.wait(20)


def push(folder: Path, blobs: Blobs, top: dict[str, Any], host: str, *options: str) -> None:
    need_tool("skopeo")
    layout = blobs.layout(folder / "layout", {"1": top})
    run(
        "skopeo",
        "copy",
        "-q",
        "--all",
        "--dest-tls-verify=false",
        *options,
        f"oci:{layout}:1",
        f"docker://{host}/a/b:1",
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def test_an_index_with_two_platforms(plain: Running, fetch: Any, tmp_path: Path) -> None:
    blobs = Blobs()
    top = blobs.index(
        blobs.image(tar({"arm": b"1" * 100_000}), platform="linux/arm64/v8"),
        blobs.image(tar({"amd": b"2" * 100_000}), tar({}), tar({"more": b""}), config={"Cmd": ["run"]}),
    )
    push(tmp_path, blobs, top, plain.host)
    image = fetch(f"{plain.host}/a/b:1")
    assert [layer.index.paths for layer in image.layers] == [[b"amd"], [], [b"more"]]
    assert image.config.cmd == ("run",)
    assert fetch(f"{plain.host}/a/b:1", "linux/arm64").layers[0].index.paths == [b"arm"]
    assert fetch(f"{plain.host}/a/b@{top['digest']}").digest == image.digest


def test_docker_schema_2(plain: Running, fetch: Any, build: BuildContext, tmp_path: Path) -> None:
    blobs = Blobs()
    push(tmp_path, blobs, blobs.image(tar({"x": b"1"})), plain.host, "--format=v2s2")
    image = fetch(f"{plain.host}/a/b:1")
    assert [layer.index.paths for layer in image.layers] == [[b"x"]]
    raw = build.store.read_blob(image.digest, 1 << 20)
    assert raw is not None
    assert json.loads(raw)["mediaType"] == DOCKER_MANIFEST


def test_a_tag_that_moves(plain: Running, fetch: Any, tmp_path: Path) -> None:
    for name in ("first", "second"):
        blobs = Blobs()
        push(tmp_path / name, blobs, blobs.image(tar({name: b""})), plain.host)
        assert fetch(f"{plain.host}/a/b:1").layers[0].index.paths == [name.encode()]


def test_not_there(plain: Running, fetch: Any) -> None:
    with pytest.raises(BuildError, match=f"^{plain.host}/no/such:1: {plain.host} has no such image or tag"):
        fetch(f"{plain.host}/no/such:1")


def test_htpasswd(fetch: Any, tmp_path: Path) -> None:
    need_tool("htpasswd", "apache2-utils")
    users = tmp_path / "htpasswd"
    users.write_text(run("htpasswd", "-Bbn", "-C4", "user", "pass:word").stdout)
    more = f"auth: {{htpasswd: {{realm: r, path: {users}}}}}"
    with docker_registry(tmp_path, more) as running:
        blobs = Blobs()
        push(tmp_path, blobs, blobs.image(tar({"x": b"1"})), running.host, "--dest-creds=user:pass:word")
        with pytest.raises(BuildError, match="answered 401") as caught:
            fetch(f"{running.host}/a/b:1")
        assert caught.value.hint == f"docker login {running.host}"
        # skopeo writes the file that we read.
        authfile = tmp_path / ".config" / "containers" / "auth.json"
        run(
            "skopeo", "login", "--tls-verify=false", f"--authfile={authfile}", "-u=user", "-p=pass:word", running.host
        )  # fmt: skip
        assert fetch(f"{running.host}/a/b:1").layers[0].index.paths == [b"x"]


def outward_address() -> str:
    """An address of this machine that is not loopback, which an own CA has to vouch for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent.
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address: str = probe.getsockname()[0]
    if ipaddress.ip_address(address).is_loopback:
        pytest.skip("this machine has no address but loopback")
    return address


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    need_tool("openssl")
    key, crt = folder / "key.pem", folder / "ca.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=fledge test", "-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", crt,
    )  # fmt: skip
    return key, crt


def test_tls_with_an_authority_of_ones_own(
    fetch: Any, build: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = outward_address()
    monkeypatch.setenv("NO_PROXY", address)
    key, crt = certificate(tmp_path, address)
    more = f"  tls: {{certificate: {crt}, key: {key}}}"
    with docker_registry(tmp_path, more, address) as running:
        blobs = Blobs()
        push(tmp_path, blobs, blobs.image(tar({"x": b"1"})), running.host)
        with pytest.raises(BuildError, match=rf"can't trust {running.host}: .*certificate verify failed") as caught:
            fetch(f"{running.host}/a/b:1")
        assert caught.value.hint is not None
        folder = tmp_path / ".config" / "containers" / "certs.d" / running.host
        folder.mkdir(parents=True)
        os.symlink(crt, folder / "ca.crt")
        assert fetch(f"{running.host}/a/b:1").layers[0].index.paths == [b"x"]


def test_tls_on_loopback_where_certificates_are_filed(fetch: Any, tmp_path: Path) -> None:
    key, crt = certificate(tmp_path, "127.0.0.1")
    more = f"  tls: {{certificate: {crt}, key: {key}}}"
    with docker_registry(tmp_path, more) as running:
        blobs = Blobs()
        push(tmp_path, blobs, blobs.image(tar({"x": b"1"})), running.host)
        folder = tmp_path / ".config" / "containers" / "certs.d" / running.host
        folder.mkdir(parents=True)
        os.symlink(crt, folder / "ca.crt")
        assert fetch(f"{running.host}/a/b:1").layers[0].index.paths == [b"x"]


def test_tls_never_falls_back_to_http(fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = outward_address()
    monkeypatch.setenv("NO_PROXY", address)
    with (
        docker_registry(tmp_path, address=address) as running,
        pytest.raises(BuildError, match=f"can't trust {running.host}|no answer from https://"),
    ):
        fetch(f"{running.host}/a/b:1")


def test_http_where_it_was_said_so(
    fetch: Any, build: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = outward_address()
    monkeypatch.setenv("NO_PROXY", address)
    build.environ["FLEDGE_INSECURE_REGISTRIES"] = address  # type: ignore[index]
    with docker_registry(tmp_path, address=address) as running:
        blobs = Blobs()
        push(tmp_path, blobs, blobs.image(tar({"x": b"1"})), running.host)
        assert fetch(f"{running.host}/a/b:1").layers[0].index.paths == [b"x"]
