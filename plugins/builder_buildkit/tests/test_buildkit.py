"""Against a buildkitd that the tests start."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.options import NoOptions
from fledge.sources import DockerfileRequest, ImageSource
from fledge.testing import builders
from fledge.testing.builders import read, request, tree_of
from fledge.testing.builds import Log, context
from fledge.testing.project import Project
from fledge.tree.inode import File
from fledge.values import GuestPath, Platform
from fledge_builder_buildkit.driver import DEFAULT_ADDRESS, Buildkit, command
from fledge_transport_archive.driver import OciLayout

pytestmark = pytest.mark.xdist_group("buildkitd")


@pytest.fixture
def build(tmp_path: Path, environ: dict[str, str], fledge_log: Log) -> BuildContext:
    return context(tmp_path / "cache", fledge_log, environ)


def image(build: BuildContext, asked: DockerfileRequest) -> ImageSource:
    driver = Buildkit("buildkit", NoOptions(), build)
    driver.fetch_base = lambda base: OciLayout("oci", NoOptions(), build).fetch_image(base)
    try:
        return driver.build_image(asked)
    finally:
        assert not list((build.store.folder / "tmp").iterdir())


def test_stages_arguments_target_and_dockerignore(build: BuildContext, fledge_log: Log, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.STAGES, target="app", build_args={"WORD": "given"})
    builders.check_stages(image(build, asked))
    assert any(line.endswith(" a step tells") for line in fledge_log.texts("info"))


def test_a_step_that_fails(build: BuildContext, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^buildctl failed with exit code 1: .*exit code: 3$") as caught:
        image(build, request(tmp_path / "c", builders.FAILS))
    assert any("Dockerfile:3" in line for line in caught.value.transcript)


def test_a_secret(build: BuildContext, tmp_path: Path) -> None:
    (tmp_path / "a,b").write_text("hush\n")
    made = image(build, request(tmp_path / "c", builders.SECRET, secrets={"token": tmp_path / "a,b"}))
    assert read(made, "/seen") == b"seen hush\n"
    assert not read(made, "/run/secrets/token")


def test_no_cache_does_every_step_anew(build: BuildContext, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.NUMBER)
    first = read(image(build, asked), "/number")
    assert first
    assert read(image(build, asked), "/number") == first
    assert read(image(build, replace(asked, no_cache=True)), "/number") != first


def test_another_platform(build: BuildContext, tmp_path: Path) -> None:
    arm = Platform.parse("linux/arm64")
    made = image(build, request(tmp_path / "c", "FROM scratch\nCOPY file /file\n", platform=arm))
    assert made.config.platform.architecture == "arm64"


def test_a_dockerfile_elsewhere_and_a_heredoc(build: BuildContext, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", "FROM scratch\nCOPY <<EOF /here\nin line\nEOF\nCOPY file /file\n")
    (tmp_path / "elsewhere").mkdir()
    dockerfile = asked.dockerfile.rename(tmp_path / "elsewhere" / "my file, with=signs")
    made = image(build, replace(asked, dockerfile=dockerfile))
    assert (read(made, "/here"), read(made, "/file")) == (b"in line\n", b"of the context\n")


def test_base_images_that_fledge_fetches(build: BuildContext, tmp_path: Path) -> None:
    """With a .dockerignore beside the Dockerfile, which the daemon is to find though it gets a copy."""
    builders.base_layout(tmp_path)
    asked = request(tmp_path / "c", builders.ON_LAYOUT)
    (tmp_path / "c" / "Dockerfile.dockerignore").write_text("busybox\nignored\n")
    made = image(build, asked)
    builders.check_on_layout(made)
    assert read(made, "/context/busybox") is None
    assert asked.dockerfile.read_text() == builders.ON_LAYOUT


def test_a_base_image_that_fledge_can_not_fetch(build: BuildContext, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="/absent is not a folder"):
        image(build, request(tmp_path / "c", "FROM oci:absent\n"))


def test_an_epoch_gives_the_same_bytes(build: BuildContext, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.STAGES, target="app", epoch=1_700_000_000, no_cache=True)
    first, again = image(build, asked), image(build, asked)
    assert first.config == again.config
    built = tree_of(first).get(GuestPath.parse("/app/file"))
    assert isinstance(built, File)
    assert (built.mtime, first.config.created) == (1_700_000_000 * 10**9,) * 2
    assert image(build, replace(asked, epoch=1)).config.diff_ids != first.config.diff_ids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_after_an_interrupt(environ: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    project = Project(tmp_path / "project")
    project.environ |= {name: environ[name] for name in ("PATH", "FLEDGE_BUILDKIT_ADDR")}
    builders.check_interrupt(project, "buildkit", number)


class TestObstacle:
    def told(self, tmp_path: Path, environ: Mapping[str, str], text: str = "FROM scratch\n") -> str | None:
        driver = Buildkit("buildkit", NoOptions(), context(tmp_path / "cache", environ=environ))
        return driver.obstacle(request(tmp_path / "c", text))

    def test_none(self, tmp_path: Path, environ: dict[str, str]) -> None:
        assert self.told(tmp_path, environ) is None

    def test_no_program(self, tmp_path: Path) -> None:
        assert self.told(tmp_path, {"PATH": str(tmp_path)}) == "the program 'buildctl' is not installed"

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("unix:///nonexistent/sock", "no such file or directory"),
            ("tcp://127.0.0.1:1", "connection refused"),
            ("tcp://[::1", "missing ']' in host"),
            ("unixx:///x", "unknown port"),
        ],
    )
    def test_no_daemon(self, tmp_path: Path, programs: Path, address: str, said: str) -> None:
        told = self.told(tmp_path, {**os.environ, "PATH": str(programs), "FLEDGE_BUILDKIT_ADDR": address})
        assert told == f"no buildkitd answers at {address}: {said}"

    def test_the_default_address(self, tmp_path: Path, programs: Path) -> None:
        if Path(DEFAULT_ADDRESS.removeprefix("unix://")).exists():
            pytest.skip("there is a buildkitd on this machine")
        told = self.told(tmp_path, {"PATH": str(programs)})
        assert told == f"no buildkitd answers at {DEFAULT_ADDRESS}: no such file or directory"


def test_the_command_line() -> None:
    asked = DockerfileRequest(
        Path("/x/D"), Path("/ctx"), Platform.parse("linux/amd64"), target="t", build_args={"A": "1 2"},
        secrets={"s": Path("/a,b")}, no_cache=True, epoch=7,
    )  # fmt: skip
    assert command(asked, "tcp://h:1") == [
        "buildctl", "--addr", "tcp://h:1", "build", "--progress=plain", "--frontend=dockerfile.v0",
        "--local", "context=/ctx", "--local", "dockerfile=/x", "--opt", "filename=D", "--opt", "platform=linux/amd64",
        "--opt", "target=t", "--opt", "build-arg:SOURCE_DATE_EPOCH=7", "--opt", "build-arg:A=1 2",
        "--secret", 'id=s,"src=/a,b"', "--no-cache", "--output", "type=oci,dest=-,rewrite-timestamp=true",
    ]  # fmt: skip
