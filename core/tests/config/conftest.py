"""Doubles of the standard drivers: core's tests need no plugin, and initramfs has none yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from fledge import config
from fledge.drivers import unknown
from fledge.errors import ConfigError
from fledge.kinds import AgentSource, Driver, Filesystem, Strategy
from fledge.options import DiskOptions, Form, NoOptions, Options, OverlayOptions, StrategyOptions
from fledge.plan import BuildPlan
from jsonschema import Draft202012Validator
from pydantic import Field, model_validator


class Image(Options):
    image: Annotated[str, Field(min_length=1)]

    elsewhere: ClassVar[Mapping[str, str]] = {"busybox_url": "busybox_url belongs to the strategy 'initramfs'"}


class RootfsOptions(StrategyOptions):
    source: Image

    elsewhere: ClassVar[Mapping[str, str]] = {"init": "[init] belongs to the strategy 'initramfs'"}

    def default_name(self, base_dir: Path) -> str | None:
        return self.source.image.rpartition("/")[2].partition(":")[0]


class Payload(Options):
    image: str | None = None
    dockerfile: str | None = None
    context: str | None = None
    busybox_url: str | None = None
    busybox_sha256: Annotated[str, Form("[0-9a-f]{64}", "a sha256, 64 hex digits")] | None = None


class Init(Options):
    path: str | None = None
    none: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> Init:
        if (self.path is None) == (self.none is None):
            raise ValueError("give either path or none = true")
        return self


class InitramfsOptions(StrategyOptions):
    source: Payload = Payload()
    init: Init | None = None

    def without_agent(self) -> str | None:
        return "[init] runs without an agent" if self.init is not None else None


class SquashfsOptions(OverlayOptions):
    compression_level: Annotated[int, Field(ge=1, le=22)] = 15


class Ext4Options(DiskOptions):
    pass


class ReleaseOptions(Options):
    version: str = "latest"


class LocalOptions(Options):
    path: Annotated[str, Field(min_length=1)]


class HttpOptions(Options):
    url: str
    checksum: str | None = None


class OciRootfs(Strategy):
    options_model = RootfsOptions
    artifact_kind = "rootfs"
    default_filesystem = "squashfs"


class Initramfs(Strategy):
    options_model = InitramfsOptions
    artifact_kind = "initramfs"
    default_filesystem = "cpio"
    filesystems = frozenset({"cpio"})


def filesystem(model: type[Options], its_suffix: str = ".img") -> type[Driver]:
    class Double(Filesystem):
        options_model = model
        suffix = its_suffix

    return Double


def agent(model: type[Options]) -> type[Driver]:
    class Double(AgentSource):
        options_model = model

    return Double


class Doubles:
    """A catalog of the doubles above."""

    DRIVERS: ClassVar[Mapping[str, Mapping[str, type[Driver]]]] = {
        "strategy": {"initramfs": Initramfs, "oci_rootfs": OciRootfs},
        "filesystem": {
            "cpio": filesystem(NoOptions, ".cpio.gz"),
            "ext4": filesystem(Ext4Options),
            "squashfs": filesystem(SquashfsOptions),
        },
        "agent": {"http": agent(HttpOptions), "local": agent(LocalOptions), "release": agent(ReleaseOptions)},
    }

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str]] = []

    def names(self, kind: str) -> Sequence[str]:
        return list(self.DRIVERS[kind])

    def load(self, kind: str, name: str) -> type[Driver]:
        self.loaded.append((kind, name))
        try:
            return self.DRIVERS[kind][name]
        except KeyError:
            error = unknown(kind, name)
            error.message = f"unknown {kind} {name!r}; installed: {', '.join(self.names(kind))}"
            raise error from None


@pytest.fixture
def catalog() -> Doubles:
    return Doubles()


@pytest.fixture
def load(tmp_path: Path, catalog: Doubles, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BuildPlan]:
    """Loads the texts as ./fledge.toml and ./manifest.toml."""
    monkeypatch.chdir(tmp_path)

    def loaded(fledge: str, template: str | None = None, **flags: object) -> BuildPlan:
        (tmp_path / "fledge.toml").write_text(fledge)
        if template is not None:
            (tmp_path / "manifest.toml").write_text(template)
        flags.setdefault("environ", {})
        return config.load(catalog=catalog, **flags)  # type: ignore[arg-type]

    return loaded


@pytest.fixture
def problems(load: Callable[..., BuildPlan]) -> Callable[..., list[str]]:
    """The problems of the texts, each as it is printed."""

    def told(fledge: str, template: str | None = None, **flags: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(fledge, template, **flags)
        assert caught.value.exit_code == 2
        return [str(problem) for problem in caught.value.problems]

    return told


@pytest.fixture(scope="session")
def schemas() -> Mapping[str, Draft202012Validator]:
    """Validators of the two TOML files, by the schema's name."""
    return {name: Draft202012Validator(config.schema(name, Doubles())) for name in ("fledge", "manifest-template")}
