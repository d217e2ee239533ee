"""What every Dockerfile builder is asked in its tests, and daemons to ask it with."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from fledge.sources import DockerfileRequest, ImageSource
from fledge.store import Store
from fledge.testing.images import Blobs, tar
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.project import PLATFORM, Project
from fledge.tree.inode import File
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform

STAGES: Final = """\
FROM scratch AS tools
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo a step tells; echo built > /file; /bin/busybox chown 7:8 /file; /bin/busybox chmod 4750 /file"]

FROM scratch AS app
ARG WORD=none
ENV WORD=$WORD
COPY --from=tools /file /app/file
COPY . /context/
CMD ["/app/file", "--serve"]

FROM app AS last
COPY busybox /last
CMD ["/last", "true"]
"""

SECRET: Final = """\
FROM scratch
COPY busybox /bin/sh
RUN --mount=type=secret,id=token ["/bin/sh", "-c", "read -r line < /run/secrets/token; echo seen $line > /seen"]
"""

FAILS: Final = """\
FROM scratch
COPY busybox /bin/sh
RUN ["/bin/sh", "-c", "echo about to fail; exit 3"]
"""

NUMBER: Final = """\
FROM scratch
COPY busybox /bin/sh
RUN ["/bin/sh", "-c", "read -r number < /proc/sys/kernel/random/uuid; echo $number > /number"]
"""

ON_LAYOUT: Final = """\
FROM oci:./base:one AS first
FROM --platform=linux/arm64 oci:./base:other AS other
FROM --platform=$TARGETPLATFORM oci:./base:one
COPY --from=other /other /etc/three
COPY . /context/
"""

SLEEPS: Final = """\
FROM scratch
COPY busybox /bin/sleep
RUN ["/bin/sleep", "SECONDS"]
"""


def request(folder: Path, dockerfile: str, **more: Any) -> DockerfileRequest:
    """A context with busybox, a file, and one that .dockerignore keeps out."""
    folder.mkdir(exist_ok=True)
    shutil.copy(need_tool("busybox", "busybox-static"), folder / "busybox")
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "file").write_text("of the context\n")
    (folder / "ignored").touch()
    (folder / ".dockerignore").write_text("ignored\ncache\nbusybo?\n!busybox\n")
    made = DockerfileRequest(folder / "Dockerfile", folder, Platform.parse(PLATFORM), base_dir=str(folder.parent))
    return replace(made, **more)


def read(image: ImageSource, path: str) -> bytes | None:
    """A file's bytes in the built image; None where there is none."""
    inode = tree_of(image).get(GuestPath.parse(path))
    return inode.content.read() if isinstance(inode, File) else None


def tree_of(image: ImageSource) -> Tree:
    """The built image's tree."""
    return Tree(merge(image.layers, 0), 0, image.config)


def check_stages(image: ImageSource) -> None:
    """That `STAGES`, built up to `app` with WORD=given, came out right."""
    tree = tree_of(image)
    built = tree.get(GuestPath.parse("/app/file"))
    assert isinstance(built, File)
    assert (built.content.read(), built.mode, built.uid, built.gid) == (b"built\n", 0o4750, 7, 8)
    assert read(image, "/context/file") == b"of the context\n"
    paths = {path for path, _ in tree.walk()}
    assert b"context/busybox" in paths
    assert not paths & {b"context/ignored", b"last", b"bin/busybox"}
    assert "WORD=given" in image.config.env
    assert image.config.cmd == ("/app/file", "--serve")


def base_layout(folder: Path) -> None:
    """The layout that `ON_LAYOUT` builds on, which no engine can read: beside the context of `request`."""
    blobs = Blobs()
    one = blobs.image(tar({"etc/one": b"1\n"}), tar({"etc/two": b"2\n"}), platform=PLATFORM, config={"Env": ["A=1"]})
    other = blobs.image(tar({"other": b"3\n"}), platform="linux/arm64")
    blobs.layout(folder / "base", {"one": one, "other": other})


def check_on_layout(image: ImageSource) -> None:
    """That `ON_LAYOUT` came out right."""
    assert [read(image, f"/etc/{name}") for name in ("one", "two", "three")] == [b"1\n", b"2\n", b"3\n"]
    assert "A=1" in image.config.env
    assert read(image, "/context/file") == b"of the context\n"
    assert read(image, "/context/ignored") is None


def running(command: str) -> bool:
    """Whether a process has this command line, in whatever namespace."""
    wanted = command.replace(" ", "\0").encode() + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes() == wanted:
                return True
    return False


def check_interrupt(project: Project, builder: str, number: signal.Signals) -> None:
    """Ends a build while a step runs; the step ends, and so does what the build had in the cache and the folder."""
    seconds = secrets.randbelow(10**6) + 10**6
    request(project.folder, SLEEPS.replace("SECONDS", str(seconds)))
    with project.start("build", ".", "--builder", builder, "--agent", "none") as process:
        eventually(lambda: process.poll() is not None or running(f"/bin/sleep {seconds}"), 60)
        if process.poll() is not None:
            pytest.fail(f"the build ended: {process.communicate()}")
        process.send_signal(number)
        process.wait(10)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    eventually(lambda: not running(f"/bin/sleep {seconds}"))
    if number == signal.SIGKILL:
        Store(project.cache).prune(None)  # Files that a dead process has locked go with whoever uses the cache next.
        eventually(lambda: not list((project.cache / "tmp").iterdir()))
    else:
        eventually(lambda: project.leftovers() == [])
    assert not list(project.folder.glob("*.img"))


def eventually(check: Any, seconds: float = 15) -> None:
    """Waits until `check` gives something true; fails with what it gave last."""
    deadline = time.monotonic() + seconds
    while not (last := check()):
        assert time.monotonic() < deadline, last
        time.sleep(0.05)


@contextmanager
def dockerd(folder: Path) -> Iterator[str]:
    """A Docker daemon with all that it has in `folder` (a short path: unix(7)) and a network of its own; its DOCKER_HOST."""
    need_root()
    program = need_tool("dockerd", "docker.io")
    argv = [
        program, "--data-root", folder / "root", "--exec-root", folder / "exec", "--pidfile", folder / "pid",
        "--host", f"unix://{folder}/docker.sock", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    with _daemon([str(word) for word in argv], folder / "docker.sock"):
        yield f"unix://{folder}/docker.sock"


@contextmanager
def buildkitd(folder: Path, program: Path) -> Iterator[str]:
    """A BuildKit daemon likewise; its address."""
    need_root()
    need_tool("runc")
    address = f"unix://{folder}/buildkitd.sock"
    argv = [str(program), "--root", str(folder / "root"), "--addr", address]
    argv += ["--oci-worker-snapshotter=native", "--oci-worker-net=host"]
    with _daemon(argv, folder / "buildkitd.sock"):
        yield address


@contextmanager
def _daemon(argv: Sequence[str], listens: Path) -> Iterator[None]:
    folder = listens.parent
    log = folder / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(["unshare", "--net", *argv], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        while not _accepts(listens):
            if process.poll() is not None:
                pytest.skip(f"{Path(argv[0]).name} does not start here: {log.read_text()[-500:]}")
            if time.monotonic() > deadline:
                pytest.fail(f"{Path(argv[0]).name} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)
        subprocess.run(["umount", "--recursive", "--quiet", folder / "root"], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder / "root", ignore_errors=True)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
