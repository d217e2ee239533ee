"""RUN steps in our machines and in BuildKit's containers: the same trees and configs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.kinds import Builder
from fledge.testing.boots import busybox, need_kernel, need_qemu
from fledge.testing.builders import dockerd
from fledge.testing.dockerfiles import Project, described, docker_of_buildkit, with_builder

pytestmark = pytest.mark.xdist_group("dockerd")

DOCKERFILE = r"""
FROM scratch AS other
COPY --chown=7:8 etc /out/deep/

FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY etc /etc/
ARG ARGUMENT="of the arg"
ENV VARIABLE="of the env" HOME2=$HOME
RUN mkdir -m 1777 /tmp && mkdir -p /srv/web /opt/a/b && chown web:staff /srv/web && chmod 2770 /srv/web && \
    echo one >/opt/a/one && ln /opt/a/one /opt/a/two && mkfifo /opt/pipe && mknod /opt/zero c 1 5 && \
    chmod 4711 /opt/a/one && ln -s nowhere /opt/link && echo "$(printf 'a\nb')" >"/opt/$(printf 'n\nl')"; \
    env | grep -v ^SHLVL= | sort >/opt/env; pwd >/opt/pwd; id >/opt/id; umask >/opt/umask; wc -c >/opt/stdin; \
    test -t 1 && echo terminal >/opt/terminal; ls /dev | grep -v -e core -e console >/opt/dev; \
    rm -r /opt/a/b && mv /opt/a /opt/moved && rm /etc/gone && mkdir /etc/gone && touch /etc/gone/in
RUN --mount=type=bind,from=other,source=/out,target=/mnt/in \
    --mount=type=tmpfs,target=/opt/scratch --mount=type=cache,target=/opt/cache,uid=1000,mode=0750 \
    --mount=type=secret,id=token,mode=0440,gid=50,target=/opt/deep/er/token \
    cp -a /mnt/in/deep /opt/copied && ls -ln /mnt/in | cut -c 1-30 >/opt/listed && echo x >/opt/scratch/x && \
    stat -c '%a %u %g' /opt/cache /opt/deep/er/token /opt/scratch >/opt/mounts && echo y >/opt/cache/y && \
    cat /opt/deep/er/token >/opt/secret
USER web
WORKDIR /srv/web
RUN id >id && env | grep -e ^HOME -e ^USER -e ^PATH >env; echo mine >mine; pwd >pwd; stat -c '%a %u %g' . >dot
USER 1234:staff
SHELL ["/bin/busybox", "ash", "-e", "-c"]
RUN id >/tmp/numeric; echo "$HOME" >>/tmp/numeric; touch /tmp/of-1234
"""


LEFT_BY_CONTAINERS = {
    *("/dev", "/proc", "/sys", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"),
    *("/mnt", "/mnt/in", "/opt/cache", "/opt/scratch", "/opt/deep", "/opt/deep/er", "/opt/deep/er/token"),
}
"""Mount points that the image lacks; BuildKit leaves them in the layer, from 0.11 on fewer of them."""


@pytest.fixture(scope="module")
def buildkit() -> Iterator[Callable[[BuildContext], Builder]]:
    folder = docker_of_buildkit()
    with tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name, dockerd(Path(name)) as host:
        yield with_builder("docker", {**os.environ, "DOCKER_HOST": host, "PATH": f"{folder}:{os.environ['PATH']}"})


def test_steps_give_what_they_give_in_containers(tmp_path: Path, buildkit: Callable[[BuildContext], Builder]) -> None:
    need_qemu()
    environ = {"FLEDGE_KERNEL_BZIMAGE": str(need_kernel()), "FLEDGE_ACCEL": "tcg", "FLEDGE_BUILD_MEMORY_MB": "256"}
    ours = Project(tmp_path, with_builder("microvm", environ))
    ours.write("busybox", busybox(), 0o755)
    ours.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/srv/web:/bin/sh\n")
    ours.write("etc/group", "root:x:0:\nweb:x:1000:\nstaff:x:50:web\n")
    ours.write("etc/gone", "gone")
    (tmp_path / "token").write_text("a secret\n")
    (tmp_path / "other").mkdir()
    theirs = Project(tmp_path / "other", buildkit)
    theirs.folder = ours.folder
    secrets = {"token": tmp_path / "token"}
    one = ours.build(DOCKERFILE, environ, secrets=secrets)
    two = theirs.build(DOCKERFILE, secrets=secrets)
    found, expected = described(one.tree), described(two.tree)
    assert {path: (fact, expected.get(path)) for path, fact in found.items() if fact != expected.get(path)} == {}
    assert expected.keys() - found.keys() <= LEFT_BY_CONTAINERS
    assert one.config == {key: value for key, value in two.config.items() if value}
