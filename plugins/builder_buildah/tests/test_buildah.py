"""With the real buildah, as root; tests/test_builders.py builds as a user."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping
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
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.project import Project
from fledge.testing.venvs import NOBODY, need_unprivileged_user
from fledge.tree.inode import File
from fledge.values import GuestPath, Platform
from fledge_builder_buildah.driver import Buildah, command
from fledge_transport_archive.driver import OciLayout


@pytest.fixture
def build(tmp_path: Path, fledge_log: Log) -> BuildContext:
    need_root()
    need_tool("buildah")
    return context(tmp_path / "cache", fledge_log, dict(os.environ))


@pytest.fixture
def public() -> Iterator[Path]:
    """A temporary folder that every user can enter; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="fledge-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def image(build: BuildContext, asked: DockerfileRequest) -> ImageSource:
    driver = Buildah("buildah", NoOptions(), build)
    driver.fetch_base = lambda base: OciLayout("oci", NoOptions(), build).fetch_image(base)
    try:
        return driver.build_image(asked)
    finally:
        assert not list((build.store.folder / "tmp").iterdir())
        assert str(build.store.folder) not in Path("/proc/mounts").read_text()


def test_stages_arguments_target_and_dockerignore(build: BuildContext, fledge_log: Log, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.STAGES, target="app", build_args={"WORD": "given"})
    builders.check_stages(image(build, asked))
    assert "a step tells" in fledge_log.texts("info")


def test_a_step_that_fails(build: BuildContext, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^buildah failed with exit code 3: .*exit status 3$") as caught:
        image(build, request(tmp_path / "c", builders.FAILS))
    assert "about to fail" in caught.value.transcript


def test_a_secret(build: BuildContext, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hush\n")
    made = image(build, request(tmp_path / "c", builders.SECRET, secrets={"token": tmp_path / "token"}))
    assert read(made, "/seen") == b"seen hush\n"
    assert not read(made, "/run/secrets/token")


def test_every_step_is_done_in_every_build(build: BuildContext, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.NUMBER)
    assert read(image(build, asked), "/number") != read(image(build, asked), "/number")


def test_another_platform(build: BuildContext, tmp_path: Path) -> None:
    arm = Platform.parse("linux/arm64")
    made = image(build, request(tmp_path / "c", "FROM scratch\nCOPY file /file\n", platform=arm))
    assert made.config.platform.architecture == "arm64"


def test_base_images_that_fledge_fetches(build: BuildContext, tmp_path: Path) -> None:
    builders.base_layout(tmp_path)
    made = image(build, request(tmp_path / "c", builders.ON_LAYOUT))
    builders.check_on_layout(made)
    assert len(made.layers) == 3


def test_what_only_dockers_format_holds(build: BuildContext, tmp_path: Path) -> None:
    text = 'FROM scratch\nCOPY file /\nSHELL ["/bin/x", "-c"]\nHEALTHCHECK CMD ["/bin/x", "alive"]\n'
    raw = image(build, request(tmp_path / "c", text)).config.raw
    assert b'"Healthcheck":{"Test":["CMD","/bin/x","alive"]}' in raw
    assert b'"Shell":["/bin/x","-c"]' in raw


def test_an_epoch_gives_the_same_bytes(build: BuildContext, tmp_path: Path) -> None:
    asked = request(tmp_path / "c", builders.STAGES, target="app", epoch=1_700_000_000)
    first = image(build, asked)
    (tmp_path / "c" / "file").touch()
    again = image(build, asked)
    assert [layer.index.paths for layer in first.layers] == [layer.index.paths for layer in again.layers]
    assert (first.config, first.digest) == (again.config, again.digest)
    built = tree_of(first).get(GuestPath.parse("/app/file"))
    assert isinstance(built, File)
    assert (built.mtime, first.config.created) == (1_700_000_000 * 10**9,) * 2
    assert image(build, replace(asked, epoch=1)).config.diff_ids != first.config.diff_ids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_after_an_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    need_root()
    need_tool("buildah")
    project = Project(tmp_path / "project")
    builders.check_interrupt(project, "buildah", number)
    assert str(project.cache) not in Path("/proc/mounts").read_text()


class TestObstacle:
    def told(
        self, tmp_path: Path, environ: Mapping[str, str], text: str = "FROM scratch\n", **more: object
    ) -> str | None:
        buildah = Buildah("buildah", NoOptions(), context(tmp_path / "cache", environ=environ))
        return buildah.obstacle(request(tmp_path / "c", text, **more))

    def test_none(self, tmp_path: Path) -> None:
        need_root()
        need_tool("buildah")
        assert self.told(tmp_path, dict(os.environ)) is None

    def test_no_program(self, tmp_path: Path) -> None:
        assert self.told(tmp_path, {"PATH": str(tmp_path)}) == "the program 'buildah' is not installed"

    def test_a_secret_with_a_comma(self, tmp_path: Path) -> None:
        told = self.told(tmp_path, dict(os.environ), secrets={"a": tmp_path / "a,b"})
        assert told == "the path of a secret has a comma, which ends it for buildah"

    @pytest.mark.parametrize(
        ("uid", "subuid", "subgid", "obstacle"),
        [
            (NOBODY, "nobody:3000000:65536", "nobody:3000000:65536", None),
            (NOBODY, "", "", f"uid {NOBODY} lacks ranges in /etc/subuid or /etc/subgid, for the users of the image"),
            (NOBODY, "nobody:3000000:65536", "", f"uid {NOBODY} lacks ranges in .*"),
            (4711, "", "", "buildah unshare fails: error determining current user: user: unknown userid 4711"),
        ],
    )
    def test_a_user(
        self, public: Path, monkeypatch: pytest.MonkeyPatch, uid: int, subuid: str, subgid: str, obstacle: str | None
    ) -> None:
        """With ranges of ids that only buildah's mount namespace has: newuidmap reads them there."""
        need_unprivileged_user()
        buildah = need_tool("buildah")
        need_tool("newuidmap", "uidmap")
        (public / "subuid").write_text(subuid)
        (public / "subgid").write_text(subgid)
        (public / "buildah").write_text(
            "#!/bin/sh -e\n"
            f'[ "$1" = --version ] || chown {uid} "$XDG_RUNTIME_DIR"\n'
            "exec unshare --mount sh -ec '\n"
            f"    mount --bind {public}/subuid /etc/subuid; mount --bind {public}/subgid /etc/subgid\n"
            f'    exec setpriv --reuid={uid} --regid={uid} --clear-groups {buildah} "$@"\n'
            '\' sh "$@"\n'
        )
        (public / "buildah").chmod(0o755)
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        told = self.told(public, {**os.environ, "HOME": str(public), "PATH": f"{public}:{os.environ['PATH']}"})
        assert told is None if obstacle is None else re.fullmatch(obstacle, told or ""), told
        assert not list((public / "cache" / "tmp").iterdir())


def test_the_command_line() -> None:
    asked = DockerfileRequest(
        Path("/x/D"), Path("/ctx"), Platform.parse("linux/amd64"), target="t", build_args={"A": "1 2"},
        secrets={"s": Path("/token")}, no_cache=True, epoch=7,
    )  # fmt: skip
    assert command(asked, "/f") == [
        "buildah", "--root", "/f/root", "--runroot", "/f/run", "build", "--format", "docker", "--identity-label=false",
        "--isolation", "chroot",
        "--file", "/x/D", "--platform", "linux/amd64", "--tag", "docker-archive:/f/image.tar", "--target", "t",
        "--timestamp", "7", "--build-arg", "A=1 2", "--secret", "id=s,src=/token", "/ctx",
    ]  # fmt: skip
    with pytest.raises(BuildError, match="can't write to /a:b: a colon ends the path"):
        command(asked, "/a:b")
