"""Against a dockerd that the tests start, through each docker command that this machine has."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.options import NoOptions
from fledge.sources import DockerfileRequest, ImageSource
from fledge.testing import builders
from fledge.testing.builders import eventually, read, request
from fledge.testing.builds import Log, context
from fledge.testing.dockerfiles import docker_commands
from fledge.testing.oracles import need_material, run
from fledge.testing.project import Project
from fledge.values import Platform
from fledge_builder_docker import driver
from fledge_builder_docker.client import BUILDX, BUILT_IN, CLASSIC, Client, command, without_buildx
from fledge_builder_docker.steps import ClassicSteps
from fledge_transport_archive.driver import OciLayout

pytestmark = pytest.mark.xdist_group("dockerd")


KINDS: Mapping[str, Client] = {"buildx": BUILDX, "built-in": BUILT_IN, "classic": CLASSIC}


@pytest.fixture(params=KINDS)
def environ(
    request: pytest.FixtureRequest, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """An environment in which the docker command builds in one way."""
    there = docker_commands()
    if request.param == "buildx" and "buildx" not in there:
        (tmp_path / "docker" / "cli-plugins").mkdir(parents=True)
        (tmp_path / "docker" / "cli-plugins" / "docker-buildx").symlink_to(need_material("programs/buildx"))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        there = docker_commands()
    if request.param not in there:
        pytest.skip(f"there is no docker command that builds with {request.param}")
    client = KINDS[request.param]
    monkeypatch.setattr(driver.Docker, "_client", lambda _: client)
    return {**os.environ, "DOCKER_HOST": host, "PATH": f"{there[request.param]}:{os.environ['PATH']}"}


@pytest.fixture
def build(tmp_path: Path, environ: dict[str, str], fledge_log: Log) -> BuildContext:
    return context(tmp_path / "cache", fledge_log, environ)


def image(build: BuildContext, asked: DockerfileRequest, kind: type[driver.Docker] = driver.Docker) -> ImageSource:
    docker = kind("docker", NoOptions(), build)
    docker.fetch_base = lambda base: OciLayout("oci", NoOptions(), build).fetch_image(base)
    return docker.build_image(asked)


def left(host: str) -> list[str]:
    """Images and containers of the daemon; it lists those of one second in any order."""
    ids = run("docker", "--host", host, "image", "ls", "--all", "--quiet").stdout
    ids += run("docker", "--host", host, "container", "ls", "--all", "--quiet").stdout
    return sorted(ids.split())


def test_stages_arguments_target_and_dockerignore(
    build: BuildContext, fledge_log: Log, host: str, tmp_path: Path
) -> None:
    builders.check_stages(
        image(build, request(tmp_path / "c", builders.STAGES, target="app", build_args={"WORD": "given"}))
    )
    assert any("a step tells" in line for line in fledge_log.texts("info"))
    assert left(host) == []
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_a_step_that_fails(build: BuildContext, host: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^docker build failed with exit code \d+: .*code: 3") as caught:
        image(build, request(tmp_path / "c", builders.FAILS))
    assert any("about to fail" in line for line in caught.value.transcript)
    assert left(host) == []


def test_a_secret(build: BuildContext, tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "a,b").write_text("hush\n")
    asked = request(tmp_path / "c", "# syntax is built in\n" + builders.SECRET, secrets={"token": tmp_path / "a,b"})
    docker = driver.Docker("docker", NoOptions(), build)
    if docker._client() is CLASSIC:
        assert docker.obstacle(asked) == "secrets take BuildKit, and there is no docker buildx"
        return
    made = image(build, asked)
    assert read(made, "/seen") == b"seen hush\n"
    assert not read(made, "/run/secrets/token")


def test_no_cache_does_every_step_anew(build: BuildContext, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.NUMBER)
    first, again = (read(image(build, asked), "/number") for _ in range(2))
    assert first
    assert (again == first) is (driver.Docker("docker", NoOptions(), build)._client() is not CLASSIC)
    assert read(image(build, replace(asked, no_cache=True)), "/number") != first


def test_another_platform(build: BuildContext, tmp_path: Path) -> None:
    arm = Platform.parse("linux/arm64")
    made = image(build, request(tmp_path / "c", "FROM scratch\nCOPY file /file\n", platform=arm))
    assert made.config.platform.architecture == "arm64"


def test_base_images_that_fledge_fetches(build: BuildContext, host: str, tmp_path: Path) -> None:
    builders.base_layout(tmp_path)
    builders.check_on_layout(image(build, request(tmp_path / "c", builders.ON_LAYOUT)))
    assert left(host) == []
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_what_the_user_has_named_stays(build: BuildContext, host: str, tmp_path: Path) -> None:
    """The engine may find the very image that the user has built before."""
    asked = request(tmp_path / "c", builders.NUMBER)
    client = driver.Docker("docker", NoOptions(), build)._client()
    argv = command(client, asked, "mine")
    subprocess.run(argv, env={**build.environ, **client.environ}, check=True, capture_output=True)
    before = left(host)
    read(image(build, asked), "/number")
    assert left(host) == before != []
    run("docker", "--host", host, "image", "rm", "mine")
    assert left(host) == []


def test_what_somebody_names_meanwhile_stays(build: BuildContext, host: str, tmp_path: Path) -> None:
    """Another build that finds the same steps in the engine's cache."""
    asked = request(tmp_path / "c", builders.NUMBER)
    client = driver.Docker("docker", NoOptions(), build)._client()
    theirs = ["docker", "--host", host, "image", "ls", "--quiet", "--no-trunc", "mine"]

    class Beside(driver.Docker):
        def _follow(self, *words: str, stdout: int | None = None) -> None:
            argv = command(client, asked, "mine")
            subprocess.run(argv, env={**build.environ, **client.environ}, check=True, capture_output=True)
            super()._follow(*words, stdout=stdout)

    number = read(image(build, asked, Beside), "/number")
    there = run(*theirs).stdout
    run("docker", "--host", host, "image", "rm", "mine")
    assert (len(there.splitlines()), bool(number)) == (1, True)
    assert left(host) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_after_an_interrupt(host: str, tmp_path: Path, number: signal.Signals) -> None:
    project = Project(tmp_path / "project")
    project.environ["DOCKER_HOST"] = host
    builders.check_interrupt(project, "docker", number)
    eventually(lambda: left(host) == [])


def test_a_whole_build(host: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.environ["DOCKER_HOST"] = host
    request(project.folder, builders.STAGES)
    built = project.build(
        ".", "--agent", "none", "--builder", "docker", "--filesystem", "ext4", "--build-arg", "WORD=x"
    )
    assert built["source"] == "dockerfile:./Dockerfile"
    assert project.cat(built["artifact"], "/app/file") == b"built\n"
    assert left(host) == []


class TestObstacle:
    def told(self, tmp_path: Path, environ: Mapping[str, str], text: str = "FROM scratch\n") -> str | None:
        docker = driver.Docker("docker", NoOptions(), context(tmp_path / "cache", environ=environ))
        return docker.obstacle(request(tmp_path / "c", text))

    def test_none(self, tmp_path: Path, host: str) -> None:
        assert self.told(tmp_path, {**os.environ, "DOCKER_HOST": host}) is None

    def test_no_program(self, tmp_path: Path) -> None:
        assert self.told(tmp_path, {"PATH": str(tmp_path)}) == "the program 'docker' is not installed"

    def test_no_daemon(self, tmp_path: Path) -> None:
        if shutil.which("docker") is None:
            pytest.skip("docker is not installed (apt-get install docker.io)")
        told = self.told(tmp_path, {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none"})
        assert told is not None
        assert re.search(rf"to the Docker daemon at unix://{tmp_path}/none$", told)


@pytest.mark.parametrize(
    ("version", "client"),
    [("18.09.1", CLASSIC), ("19.03.5", BUILT_IN), ("20.10.24+dfsg1", BUILT_IN), ("23.0.0", CLASSIC), ("dev", CLASSIC)],
)
def test_what_a_docker_command_can_do_by_itself(version: str, client: Client) -> None:
    assert without_buildx(version) is client


def test_the_command_line(tmp_path: Path) -> None:
    asked = DockerfileRequest(
        Path("/x/D"), Path("/ctx"), Platform.parse("linux/amd64"), target="t", build_args={"A": "1 2"},
        secrets={"s": Path("/a,b")}, no_cache=True, epoch=7,
    )  # fmt: skip
    assert command(BUILDX, asked, "n") == [
        "docker", "buildx", "build", "--progress=plain", "--load", "--provenance=false", "--sbom=false",
        "--file", "/x/D", "--tag", "n", "--platform", "linux/amd64", "--target", "t",
        "--build-arg", "SOURCE_DATE_EPOCH=7", "--build-arg", "A=1 2", "--secret", 'id=s,"src=/a,b"', "--no-cache", "/ctx",
    ]  # fmt: skip
    assert "SOURCE_DATE_EPOCH" not in str(command(CLASSIC, asked, "n"))
    own = replace(asked, build_args={"SOURCE_DATE_EPOCH": "1"})
    assert command(BUILT_IN, own, "n").count("SOURCE_DATE_EPOCH=1") == 1


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["Step 2/2 : RUN x", " ---> Running in cccccccccccc", " ---> bbbbbbbbbbbb"], ["cccccccccccc", "bbbbbbbbbbbb"]),
        ([" ---> aaaaaaaaaaaa", "---> dddddddddddd"], []),
        (["Step 1/2 : FROM base", "1: Pulling from base", " ---> bbbbbbbbbbbb"], []),
        (["Step 1/2 : from base", " ---> bbbbbbbbbbbb", "Step 2/2 : COPY x /", " ---> cccccccccccc"], ["cccccccccccc"]),
        (["Step 1/1 : FROM base", "# Executing 1 build trigger", " ---> bbbbbbbbbbbb"], ["bbbbbbbbbbbb"]),
    ],
)
def test_what_a_step_made_is_named_and_nothing_of_the_users(lines: list[str], named: list[str]) -> None:
    made: list[str] = []
    told: list[str] = []
    steps = ClassicSteps({"aaaaaaaaaaaa"}, made.append, told.append)
    for line in lines:
        steps.line(line)
    assert (made, told) == (named, lines)
