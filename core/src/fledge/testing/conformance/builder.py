"""What every builder of Dockerfiles must do."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.kinds import Builder
from fledge.progress import Progress
from fledge.sources import AgentRequest, DockerfileRequest, ImageRequest, ImageSource
from fledge.store import Store
from fledge.testing.builds import Log
from fledge.testing.conformance.driver import DriverConformance, refusal
from fledge.testing.conformance.guards import contents
from fledge.testing.project import PLATFORM
from fledge.tree.inode import Directory, File
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform

DOCKERFILE = """\
FROM scratch AS base
ARG GREETING=hello
COPY --chown=7:8 file /srv/file
ENV GREETING=${GREETING}
FROM base
COPY folder /srv/folder
WORKDIR /srv
USER 7:8
EXPOSE 8080/tcp
LABEL kind="conformance"
ENTRYPOINT ["/srv/file"]
CMD ["--serve"]
"""
"""Without a base image and without RUN: every builder can do this without a network."""


class BuilderConformance(DriverConformance):
    """Builds small images. Without what the builder needs (its `obstacle`), only that is checked."""

    slow: ClassVar[float] = 15.0
    """Seconds that `obstacle` may take on a machine that is busy."""

    kind = "builder"
    base = Builder
    hook = "fetch_source"

    @pytest.fixture(autouse=True)
    def temporary(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder for temporary files that nobody else uses."""
        folder = str(tmp_path_factory.mktemp("temporary"))
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)

    @pytest.fixture
    def environ(self, temporary: None) -> Mapping[str, str]:
        """The environment that the builder finds its daemon by: this process's, unless overridden."""
        return dict(os.environ)

    def traces(self) -> object:
        """What must be the same after a build as before it; a subclass adds its daemon's images and containers."""
        return sorted(os.listdir(tempfile.gettempdir()))

    @pytest.fixture
    def log(self) -> Log:
        """What the builder tells."""
        return Log()

    @pytest.fixture
    def build(self, tmp_path: Path, log: Log, environ: Mapping[str, str]) -> BuildContext:
        """What the driver is created with."""
        return BuildContext(Store(tmp_path / "cache"), Progress(log), environ, 2)

    @pytest.fixture
    def able(self, build: BuildContext, tmp_path: Path) -> Builder:
        """The driver; skips the check where something is in its way."""
        obstacle = self.builder(build).obstacle(self.request(tmp_path / "able"))
        if obstacle is not None:
            pytest.skip(f"{self.name} can't build here: {obstacle}")
        return self.builder(build)

    def builder(self, build: BuildContext) -> Builder:
        """A driver that has no way to a base image, as none is asked for."""

        def fetch_base(request: ImageRequest) -> ImageSource:
            raise AssertionError(f"{request.reference} was asked for")

        driver: Builder = self.create(build)
        driver.fetch_base = fetch_base
        return driver

    def request(self, folder: Path, dockerfile: str = DOCKERFILE, **more: Any) -> DockerfileRequest:
        """A context with a file and a folder, and its Dockerfile."""
        (folder / "folder").mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text("the file\n")
        (folder / "file").chmod(0o750)
        (folder / "folder" / "below").write_text("below\n")
        (folder / "Dockerfile").write_text(dockerfile)
        given = {"driver": self.name, "base_dir": str(folder), **more}
        return DockerfileRequest(folder / "Dockerfile", folder, Platform.parse(PLATFORM), **given)

    def test_its_obstacle_is_quick_and_leaves_no_trace(self, build: BuildContext, tmp_path: Path) -> None:
        """It may be one of several that are asked. An obstacle is a few words; a Dockerfile that is missing is none."""
        request = self.request(tmp_path / "context")
        before = contents(tmp_path), self.traces()
        begun = time.monotonic()
        found = [self.builder(build).obstacle(request) for _ in range(2)]
        assert time.monotonic() - begun < 2 * self.slow
        assert found[0] == found[1]
        assert found[0] is None or (found[0] and "\n" not in found[0])
        request.dockerfile.unlink()
        self.builder(build).obstacle(request)
        request.dockerfile.write_text(DOCKERFILE)
        assert (contents(tmp_path), self.traces()) == before

    def test_layers_and_config(self, able: Builder, tmp_path: Path) -> None:
        """What COPY brought, and what the image says of how to run it."""
        request = self.request(tmp_path / "context", build_args={"GREETING": "hi"})
        image = able.fetch_source(None, request)  # type: ignore[arg-type]
        assert isinstance(image, ImageSource)
        tree = Tree(merge(image.layers, 0))
        file = tree.get(GuestPath.parse("/srv/file"))
        assert isinstance(file, File)
        assert file.content.read() == b"the file\n"
        assert (file.mode, file.uid, file.gid) == (0o750, 7, 8)
        assert isinstance(tree.get(GuestPath.parse("/srv/folder/below")), File)
        assert isinstance(tree.get(GuestPath.parse("/srv")), Directory)
        config = image.config
        assert config.entrypoint == ("/srv/file",)
        assert config.cmd == ("--serve",)
        assert "GREETING=hi" in config.env
        assert (config.working_dir, config.user, config.exposed_ports) == ("/srv", "7:8", ("8080/tcp",))
        assert str(config.platform) == PLATFORM
        assert image.reference == request.reference

    def test_the_stage_to_stop_at(self, able: Builder, tmp_path: Path) -> None:
        """`target`: what comes after it is not in the image."""
        image = able.build_image(self.request(tmp_path / "context", target="base"))
        tree = Tree(merge(image.layers, 0))
        assert tree.get(GuestPath.parse("/srv/file")) is not None
        assert tree.get(GuestPath.parse("/srv/folder")) is None
        assert image.config.entrypoint == ()

    def test_nothing_is_left_behind(self, able: Builder, build: BuildContext, tmp_path: Path) -> None:
        """Neither by an image nor by an error: no names, no containers, no temporary files; the context is as it was."""
        request = self.request(tmp_path / "context")
        broken = self.request(tmp_path / "broken", DOCKERFILE.replace("folder /srv", "nowhere /srv"))
        before = contents(tmp_path / "context"), contents(tmp_path / "broken"), self.traces()
        able.build_image(request)
        refusal(lambda: self.builder(build).build_image(broken), BuildError)
        assert (contents(tmp_path / "context"), contents(tmp_path / "broken"), self.traces()) == before
        assert list(build.store.folder.glob("tmp/*")) == []

    @pytest.mark.parametrize(
        "dockerfile",
        ["FROM scratch\nCOPY nowhere /\n", "FROM scratch\nNOSUCH instruction\n", "COPY file /\n", ""],
        ids=["nothing to copy", "no such instruction", "no FROM", "nothing"],
    )
    def test_a_dockerfile_that_can_not_be_built_is_an_error(
        self, able: Builder, tmp_path: Path, dockerfile: str
    ) -> None:
        """In one line; what the builder said before is the user's to read."""
        refusal(lambda: able.build_image(self.request(tmp_path / "context", dockerfile)), BuildError)

    def test_a_target_that_is_not_there_is_an_error(self, able: Builder, tmp_path: Path) -> None:
        """Not the last stage instead."""
        refusal(lambda: able.build_image(self.request(tmp_path / "context", target="nowhere")), BuildError)

    def test_it_answers_to_its_name_only(self, build: BuildContext, tmp_path: Path) -> None:
        """All drivers of a build are asked, and one has to answer."""
        driver = self.builder(build)
        other = self.request(tmp_path / "context", driver="another")
        assert driver.fetch_source(None, other) is None  # type: ignore[arg-type]
        agent = AgentRequest(self.name, Platform.parse(PLATFORM))
        assert driver.fetch_source(None, agent) is None  # type: ignore[arg-type]
