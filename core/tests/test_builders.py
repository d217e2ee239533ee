"""Which builder it is, and what the log says about the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fledge import builders, drivers
from fledge.errors import BuildError, UsageError
from fledge.kinds import Builder, Driver
from fledge.options import NoOptions
from fledge.sources import DockerfileRequest, ImageSource
from fledge.testing.builds import Log, context
from fledge.values import Platform

Choose = Callable[..., str]


@pytest.fixture
def choose(tmp_path: Path, fledge_log: Log, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Chooses among `installed`: what keeps each of them from building, if anything does."""

    def chosen(
        installed: Mapping[str, str | None], environ: Mapping[str, str] | None = None, *, named: str | None = None
    ) -> str:
        class Double(Builder):
            options_model = NoOptions

            def obstacle(self, request: DockerfileRequest) -> str | None:
                return installed[self.name]

            def build_image(self, request: DockerfileRequest) -> ImageSource:
                raise AssertionError

        def load(kind: str, name: str) -> type[Driver]:
            if name not in installed:
                raise drivers.unknown(kind, name)
            if installed[name] == "broken":
                raise BuildError(f"the builder {name!r} does not load: ImportError: no")
            return Double

        monkeypatch.setattr(drivers, "names", lambda kind: sorted(installed))
        monkeypatch.setattr(drivers, "load", load)
        request = DockerfileRequest(
            tmp_path / "Dockerfile", tmp_path, Platform.parse("linux/amd64"), driver=named, base_dir=str(tmp_path)
        )
        return builders.choose(request, context(tmp_path / "cache", fledge_log, environ)).name

    return chosen


ALL = dict.fromkeys(("acme", "buildah", "buildkit", "docker", "microvm", "zeta"))
HERE = {"FLEDGE_BUILDKIT_ADDR": "tcp://builder:1234"}


@pytest.mark.parametrize(
    ("obstacles", "environ", "name", "told"),
    [
        ({}, {}, "microvm", "builder: microvm, the first choice"),
        ({}, HERE, "buildkit", "builder: buildkit, the first choice"),
        ({"microvm": "no kernel"}, {}, "docker", "builder: docker; passed over: microvm: no kernel"),
        ({"buildkit": "silent"}, HERE, "microvm", "builder: microvm; passed over: buildkit: silent"),
        (
            {"microvm": "a", "docker": "b", "buildah": "c"},
            {},
            "acme",
            "builder: acme; passed over: microvm: a; docker: b; buildah: c",
        ),
        (
            {"microvm": "broken"},
            {},
            "docker",
            "builder: docker; passed over: microvm: the builder 'microvm' does not load: ImportError: no",
        ),
    ],
)
def test_the_first_that_works(
    choose: Choose, fledge_log: Log, obstacles: Mapping[str, str], environ: Mapping[str, str], name: str, told: str
) -> None:
    assert choose(ALL | obstacles, environ) == name
    assert fledge_log.texts("info") == [told]


@pytest.mark.parametrize(
    ("mode", "name"), [("embedded", "microvm"), ("daemon", "buildkit"), ("docker", "docker"), ("buildah", "buildah")]
)
def test_the_mode_names_one(choose: Choose, fledge_log: Log, mode: str, name: str) -> None:
    assert choose(ALL, {"FLEDGE_BUILDKIT_MODE": mode} | HERE) == name
    assert fledge_log.texts("info") == [f"builder: {name}, as asked for"]


def test_the_config_wins_over_the_mode(choose: Choose) -> None:
    assert choose(ALL, {"FLEDGE_BUILDKIT_MODE": "docker"}, named="buildah") == "buildah"


def test_one_that_is_named_stands_for_itself(choose: Choose) -> None:
    with pytest.raises(BuildError, match=r"^the builder 'docker' can't build dockerfile:\./Dockerfile: no daemon$"):
        choose(ALL | {"docker": "no daemon"}, named="docker")


def test_a_mode_whose_builder_is_not_installed(choose: Choose) -> None:
    with pytest.raises(UsageError, match="unknown builder 'buildah'; installed: docker") as caught:
        choose({"docker": None}, {"FLEDGE_BUILDKIT_MODE": "buildah"})
    assert caught.value.hint == "try: pip install fledge-builder-buildah"


def test_a_mode_that_is_none(choose: Choose) -> None:
    with pytest.raises(UsageError, match="FLEDGE_BUILDKIT_MODE is 'x'; allowed: embedded, daemon, docker, buildah"):
        choose(ALL, {"FLEDGE_BUILDKIT_MODE": "x"})


def test_none_can(choose: Choose) -> None:
    with pytest.raises(BuildError, match=r"^no builder can build .*: docker: no daemon; acme: no$") as caught:
        choose({"acme": "no", "docker": "no daemon", "buildkit": None})
    assert caught.value.hint


def test_none_is_installed(choose: Choose) -> None:
    with pytest.raises(BuildError, match=r"^no builder can build .*: none is installed$"):
        choose({})
