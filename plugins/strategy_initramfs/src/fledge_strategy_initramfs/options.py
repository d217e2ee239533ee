"""The tables of fledge.toml that the strategy initramfs owns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

from fledge.image.source_table import DOCKERFILE_KEYS, ImageSourceTable
from fledge.options import Form, Options, StrategyOptions
from fledge.values import Digest, GuestPath
from pydantic import ConfigDict, Field, field_validator, model_validator

BUSYBOX_URL: Final = "https://busybox.net/downloads/binaries/1.35.0-x86_64-linux-musl/busybox"
BUSYBOX_SHA256: Final = "6e123e7f3202a8c1e9b1f94d8941580a25135382b99e8d3e34fb858bba311348"
BUSYBOX_ARCHITECTURE: Final = "amd64"
"""Of the default one; its site has no others of that version."""

Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Form(r"(sha256:)?[0-9a-f]{64}", "a sha256: 64 hex digits")]
ModuleName = Annotated[str, Form(r"[A-Za-z0-9_.-]+", "the name of a kernel module, such as virtio_blk")]


class Source(ImageSourceTable):
    """What lies under busybox and the init, and which busybox. Everything can be left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {"required": ["image", "dockerfile"]},
            "dependentRequired": {key: ["dockerfile"] for key in DOCKERFILE_KEYS},
        }
    )

    busybox_url: Text | None = None
    """A static busybox: a URL with http, https or file, or a path. Default: a pinned one for x86_64 (musl)."""
    busybox_sha256: Sha256 | None = None
    """Its checksum. Without one, a busybox of one's own is used with a warning."""


class Init(Options):
    """Who is process 1. Left out: Fledge's init, which starts the agent, or without an agent the workload."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["path"]}, {"properties": {"none": {"const": True}}, "required": ["none"]}]
        }
    )

    path: Text | None = None
    """Absolute: Fledge's init mounts what is needed and then becomes this program of the image. Relative: this
    file of the host is process 1 itself. Excludes `none`."""
    none: bool = False
    """The mapping to `/init` is process 1. Excludes `path`."""

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("/"):
            GuestPath.parse(value)
        return value

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.path is not None and self.none:
            raise ValueError("path and none exclude each other; give one of them")
        if self.path is None and not self.none:
            raise ValueError("has neither path nor none = true; give one of them, or remove [init]")
        return self


class InitramfsTable(Options):
    """What else goes into the initramfs."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {"modules": ["kernel_modules"], "kernel_modules": ["modules"]}}
    )

    busybox: bool = True
    """Whether busybox goes in, with a link for each of its programs that the image does not have."""
    modules: tuple[ModuleName, ...] = ()
    """Kernel modules that the init loads, with what they need, in this order: `["virtio_blk", "overlay"]`."""
    kernel_modules: Text | None = None
    """The folder of the guest kernel's modules that they are taken from: `/lib/modules/6.1.0-13-cloud-amd64`."""

    @model_validator(mode="after")
    def _modules_come_from_somewhere(self) -> Self:
        if self.modules and self.kernel_modules is None:
            raise ValueError("modules needs kernel_modules, the folder that they are taken from")
        if self.kernel_modules is not None and not self.modules:
            raise ValueError("kernel_modules needs modules, the names of those to take")
        return self


class InitramfsOptions(StrategyOptions):
    """The strategy initramfs."""

    source: Source = Source()
    init: Init | None = None
    initramfs: InitramfsTable = InitramfsTable()

    elsewhere: ClassVar[Mapping[str, str]] = {
        "busybox_url": "busybox_url belongs to [source]",
        "busybox_sha256": "busybox_sha256 belongs to [source]",
    }

    @model_validator(mode="after")
    def _init_loads_the_modules(self) -> Self:
        if self.initramfs.modules and self.init is not None and self.guest_init_becomes is None:
            raise ValueError("[initramfs] modules are loaded by Fledge's init, which this [init] replaces; remove one")
        return self

    @property
    def guest_init_becomes(self) -> str | None:
        """The program of the image that Fledge's init becomes, where `[init] path` names one."""
        path = self.init.path if self.init is not None else None
        return path if path is not None and path.startswith("/") else None

    @property
    def host_init(self) -> str | None:
        """The file of the host that is process 1, where `[init] path` names one."""
        return self.init.path if self.init is not None and self.guest_init_becomes is None else None

    @property
    def busybox(self) -> tuple[str, Digest | None]:
        """Where busybox comes from, and its digest where it is known."""
        sha256 = self.source.busybox_sha256 or (BUSYBOX_SHA256 if self.source.busybox_url is None else None)
        digest = Digest("sha256", sha256.removeprefix("sha256:")) if sha256 is not None else None
        return self.source.busybox_url or BUSYBOX_URL, digest

    def default_name(self, base_dir: Path) -> str | None:
        """The image's, or that of the Dockerfile's folder."""
        return self.source.default_name(base_dir)

    def without_agent(self) -> str | None:
        """With an init of one's own nothing starts an agent."""
        if self.init is None:
            return None
        given = "none = true" if self.init.none else "path"
        return f"[agent] and [init] {given} exclude each other: that init does not start an agent"
