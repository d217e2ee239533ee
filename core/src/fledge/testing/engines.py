"""A Docker daemon of a test's own, and the BuildKit in it."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from fledge.testing.http import Answer, serving
from fledge.testing.oracles import need_root, need_tool


class EngineError(Exception):
    """What the engine says where a build fails."""


@contextmanager
def docker_daemon() -> Iterator[str]:
    """The DOCKER_HOST of a daemon without a network of its own, for as long as the block lasts."""
    need_root()
    program = need_tool("dockerd", "docker.io")
    # A socket's path is at most 107 bytes long, which pytest's folders can be beyond.
    folder = Path(tempfile.mkdtemp(prefix="fledge-dockerd-"))
    log = folder / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [
                program, "--data-root", folder / "root", "--exec-root", folder / "exec",
                "--host", f"unix://{folder}/docker.sock", "--pidfile", folder / "pid",
                "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
            ],
            stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not _accepts(folder / "docker.sock"):
            if process.poll() is not None:
                pytest.skip(f"dockerd does not start here: {log.read_text()[-500:]}")
            if time.monotonic() > deadline:
                pytest.fail(f"dockerd does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield f"unix://{folder}/docker.sock"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def build_with_buildkit(
    host: str,
    folder: Path,
    tag: str,
    *,
    arguments: Mapping[str, str] | None = None,
    target: str = "",
) -> None:
    """Builds `folder` with the daemon's BuildKit, without its cache, every owner of the context 0:0.

    The docker command needs a plugin for BuildKit. The daemon alone takes a context from a URL, as a tar without
    extended headers (it looks at its first member to tell it from a Dockerfile); a .dockerignore does not count then.

    Raises EngineError.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=_anonymous)
    context = Answer(body=buffer.getvalue(), headers={"Content-Type": "application/x-tar"})
    with serving(lambda _: context) as server:
        query = {
            "version": "2", "remote": f"{server.url}/context.tar", "t": tag, "nocache": "1", "networkmode": "host",
            "buildargs": json.dumps(dict(arguments or {})), "target": target,
        }  # fmt: skip
        connection = _Connection(host.removeprefix("unix://"))
        connection.request("POST", f"/build?{urlencode(query)}", headers={"Content-Type": "application/x-tar"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
    if response.status != 200:
        raise EngineError(text)
    for line in text.splitlines():
        if "errorDetail" in line:
            raise EngineError(json.loads(line)["error"])


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = int(member.mtime)
    return member


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
