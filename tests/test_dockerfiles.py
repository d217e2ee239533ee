"""The Dockerfiles in tests/dockerfiles, built by Docker's BuildKit, by buildah and in microVMs: the same trees and configs.

What stays different is listed in docs/dockerfiles.md, and nothing else is. Times are not compared: only one of the three
has a rule for them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.kinds import Builder
from fledge.testing.boots import need_kernel, need_qemu
from fledge.testing.builders import buildkitd, dockerd
from fledge.testing.dockerfiles import Built, Project, described, docker_of_buildkit, with_builder
from fledge.testing.oracles import need_material, need_root, need_tool

FOLDER = Path(__file__).parent / "dockerfiles"
CASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
RUNS = [name for name in CASES if "RUN " in (FOLDER / name / "Dockerfile").read_text()]

HEREDOCS = "26-heredocs"
"""Too new for Debian 12's Docker and buildah: BuildKit's own daemon is asked instead."""

pytestmark = pytest.mark.xdist_group("dockerd")


@dataclass(frozen=True)
class Known:
    """A difference that stays. `what`: a regular expression for paths, or keys of the config; `case`: empty for any."""

    builder: str
    case: str
    what: str
    reason: str
    values: tuple[object, object] | None = None
    """What it is with microvm and with the other one, where only that is the difference that stays."""

    def covers(self, what: str, values: tuple[object, object]) -> bool:
        return re.fullmatch(self.what, what) is not None and self.values in (None, values)


KNOWN = (
    Known("docker", "16-modes", "/all/s.*|/one", "keeps setuid, setgid and sticky bits with `--chmod` (before BuildKit 0.10)"),
    Known("docker", "24-mounts", "/mnt(/.*)?", "leaves the folders that mounts were seen at (before BuildKit 0.11)"),
    Known("buildah", "", "WorkingDir", "gives `FROM scratch` no WorkingDir; the others give it `/`", ("/", None)),
    Known("buildah", "01-folders", "/srv/.*/nested", "drops setuid and setgid bits of the context"),
    Known("buildah", "16-modes", "/plain/s.*", "drops setuid and setgid bits of the context"),
    Known("buildah", "06-arguments", "Env", "does not inherit the `ARG` of the stage that a stage is based on"),
    Known("buildah", "08-config", "ExposedPorts", "keeps a range of ports as one name"),
    Known("buildah", "11-symlinks", "/filelink|/real/target", "replaces a symlink that a file is copied to; the others follow it"),
    Known("buildah", "12-archives", "/gz|/mixed|/plain", "gives the folder that an archive is extracted to the owner of the archive's `.`"),
    Known("buildah", "15-escape", "Env", "takes a backslash for the escape character in values, whatever `escape` says"),
    Known("buildah", "", "/etc/(hosts|hostname|resolv.conf)", "leaves the empty files that a step's own were seen at"),
    Known("buildah", "24-mounts", "/mnt(/.*)?", "leaves the folders that mounts were seen at"),
)  # fmt: skip


@pytest.fixture(scope="module")
def docker() -> Iterator[Callable[[BuildContext], Builder]]:
    folder = docker_of_buildkit()
    with tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name, dockerd(Path(name)) as host:
        yield with_builder("docker", {**os.environ, "DOCKER_HOST": host, "PATH": f"{folder}:{os.environ['PATH']}"})


@pytest.fixture
def buildkit() -> Iterator[Callable[[BuildContext], Builder]]:
    daemon = need_material("programs/buildkitd")
    path = f"{daemon.parent}:{os.environ['PATH']}"
    with (
        tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name,
        buildkitd(Path(name), daemon) as address,
    ):
        yield with_builder("buildkit", {**os.environ, "PATH": path, "FLEDGE_BUILDKIT_ADDR": address})


@pytest.fixture
def microvm() -> Callable[[BuildContext], Builder]:
    kernel = {"FLEDGE_KERNEL_BZIMAGE": str(need_kernel()), "FLEDGE_ACCEL": "tcg", "FLEDGE_BUILD_MEMORY_MB": "512"}
    need_qemu()
    return with_builder("microvm", {**os.environ, **kernel})


@pytest.fixture
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The context: the case's folder, what its setup.sh makes, and a root with busybox where it asks for one."""
    need_root()
    folder = tmp_path / "context"
    shutil.copytree(FOLDER / request.param, folder)
    setup = folder / "setup.sh"
    if setup.exists():
        subprocess.run(["sh", "-eu", setup], cwd=folder, check=True, umask=0o022)
        setup.unlink()
    text = (folder / "Dockerfile").read_text()
    if "COPY root /\n" in text and not (folder / "root").exists():
        small_root(folder / "root")
    if "debian.tar" in text:
        debian(folder)
    return folder


def small_root(root: Path) -> None:
    """A shell, and users."""
    # What engines make in every container is there already, so that it is no difference.
    for name in ("bin", "etc", "tmp", "home", "dev", "proc", "sys", "run"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(need_tool("busybox", "busybox-static"), root / "bin" / "busybox")
    for applet in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1000:2000::/home/web:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nweb:x:2000:\nstaff:x:50:web\n")


def debian(folder: Path) -> None:
    """Debian with apt, and a repository of one package, so that the steps need no network."""
    shutil.copy(need_material("debian.tar"), folder)
    (folder / "repository").mkdir()
    if (
        subprocess.run(
            ["apt-get", "download", "hello"], cwd=folder / "repository", check=False, capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("apt-get gets no package here")
    packages = subprocess.run(
        [need_tool("dpkg-scanpackages", "dpkg-dev"), "."], cwd=folder / "repository", capture_output=True, check=True
    )
    (folder / "repository" / "Packages").write_bytes(packages.stdout)


def build(folder: Path, name: str, builder: Callable[[BuildContext], Builder]) -> Built:
    (folder.parent / name).mkdir()
    project = Project(folder.parent / name, builder)
    project.folder = folder
    return project.build()


@pytest.mark.parametrize("prepared", CASES, indirect=True)
def test_microvms_build_what_docker_and_buildah_build(
    prepared: Path,
    request: pytest.FixtureRequest,
    docker: Callable[[BuildContext], Builder],
    microvm: Callable[[BuildContext], Builder],
) -> None:
    case: str = request.node.callspec.params["prepared"]
    others = {"docker": docker, "buildah": with_builder("buildah", os.environ)}
    if case == HEREDOCS:
        others = {"buildkit": request.getfixturevalue("buildkit")}
    ours = facts(build(prepared, "microvm", microvm))
    for name, builder in others.items():
        theirs = facts(build(prepared, name, builder))
        different = {
            what: (ours.get(what), theirs.get(what))
            for what in sorted(set(ours) | set(theirs))
            if ours.get(what) != theirs.get(what)
        }
        listed = [known for known in KNOWN if known.builder == name and known.case in ("", case)]
        told = {what: [known for known in listed if known.covers(what, values)] for what, values in different.items()}
        assert {what: different[what] for what, by in told.items() if not by} == {}, name
        gone = [known for known in listed if known.case and all(known not in by for by in told.values())]
        assert gone == [], "is not different any more"


def test_there_are_twenty_five() -> None:
    assert len(CASES) >= 25
    assert len(RUNS) >= 8


def test_what_stays_different_is_in_the_docs() -> None:
    text = (FOLDER.parent.parent / "docs" / "dockerfiles.md").read_text()
    for known in KNOWN:
        assert f"| {known.builder} | {known.reason} |" in text
        assert known.case == "" or known.case in CASES
    assert text.count("\n| ") - 1 == len({(known.builder, known.reason) for known in KNOWN})


def facts(built: Built) -> dict[str, object]:
    """Paths with what is there, and the config's keys with their values."""
    run = {key: value for key, value in built.config.items() if value not in (None, "", [], {}, False)}
    run.pop("ArgsEscaped", None)  # For Windows.
    return {**described(built.tree), **run}
