"""The model of manifest.toml: how the image runs by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from fledge.options import Form, Options

_NAME_MAX: Final = 200

Text = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Milliseconds = Annotated[int, Field(ge=0)]
GuestFolder = Annotated[str, Form(r"/.*", "absolute; a path in the guest starts with /")]
PciAddress = Annotated[
    str, Form(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]", "a PCI address, such as '0000:01:00.0'")
]
PciDevice = Annotated[
    str, Form(r"[0-9a-fA-F]{4}:([0-9a-fA-F]{4}|\*)", "of the form vendor:device or vendor:*, such as '10de:*'")
]
Checksum = Annotated[
    str,
    Form(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", "a checksum, sha256:<64 hex digits> or sha512:<128 hex digits>"),
]


def _has_a_place(value: str) -> str:
    from urllib.parse import urlsplit

    try:
        urlsplit(value).port  # noqa: B018 - it is parsed when it is asked for
    except ValueError as error:
        raise ValueError(f"{value!r} is not a URL: {error}") from None
    return value


HttpUrl = Annotated[
    str,
    Form(r"https?://.+", "a URL with http:// or https://, such as 'http://127.0.0.1:80'"),
    AfterValidator(_has_a_place),
]


def _is_file_name(value: str) -> str:
    # With "-rootfs.img" behind it, it must stay below the 255 bytes that Linux allows.
    if not value.isprintable() or len(value.encode()) > _NAME_MAX:
        raise ValueError(f"{value!r} can't name a file; allowed: up to {_NAME_MAX} bytes of printable characters")
    return value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _is_subnet(value: str) -> str:
    import ipaddress

    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a subnet in CIDR form, such as '10.1.0.0/24'") from None
    return value


def _is_address(value: str) -> str:
    import ipaddress

    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None
    return value


class Resources(Options):
    """What a VM gets."""

    cpu_cores: Annotated[int, Field(ge=1)] = 2
    """Virtual CPUs."""
    memory_mb: Annotated[int, Field(ge=1)] = 2048
    """Memory in MiB."""


class Workload(Options):
    """What runs in the guest. What is left out comes from the image's config."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"args": ["entrypoint"]}})

    type: Literal["exec", "http", "grpc"] = "exec"
    """`http` and `grpc` serve a port, `http` is polled until it is healthy."""
    entrypoint: Annotated[
        list[str],
        Field(min_length=1),
        BeforeValidator(_one_or_many, json_schema_input_type=Annotated[list[str], Field(min_length=1)] | Text),
    ] = Field(default_factory=list)
    """The command and its arguments; in the older form a string, with the arguments in `args`.

    Where it is given, the image's Entrypoint and Cmd are not used.
    """
    args: tuple[str, ...] = ()
    """The arguments, appended to `entrypoint`."""
    base_url: HttpUrl | None = None
    """For http: where the workload answers inside the guest. Default: the first exposed tcp port of 127.0.0.1."""
    workdir: GuestFolder | None = None
    """The working directory, absolute. Default: the image's WorkingDir."""
    user: Text | None = None
    """Who runs it: `user`, `uid`, `user:group` or `uid:gid`. Default: the image's User."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables; they win over those of `[env]`, which win over the image's."""

    @field_validator("entrypoint")
    @classmethod
    def _has_program(cls, value: list[str]) -> list[str]:
        if value and not value[0].strip():
            raise ValueError(f"{value[0]!r} is not a program; the first item names it")
        return value

    @model_validator(mode="after")
    def _args_follow_a_program(self) -> Workload:
        if self.args and not self.entrypoint:
            raise ValueError("args is given without the entrypoint that it belongs to")
        return self


class Expose(Options):
    """A port that the workload listens on."""

    port: Port
    """The port in the guest, 1 to 65535."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """The transport protocol."""
    host_port: Port | None = None
    """A fixed port of the host; left out, the orchestrator assigns one."""


class Network(Options):
    """How the guest is connected."""

    mode: Literal["bridged", "vsock", "dhcp"] = "bridged"
    """`bridged`: an address from a managed subnet; `dhcp`: the guest asks for one; `vsock`: no Ethernet."""
    expose: tuple[Expose, ...] = ()
    """Ports that the workload listens on. Default: the image's ExposedPorts."""
    subnet: Annotated[str, AfterValidator(_is_subnet)] | None = None
    """For bridged: the subnet in CIDR form, such as `10.1.0.0/24`."""
    gateway: Annotated[str, AfterValidator(_is_address)] | None = None
    """For bridged: the gateway's address."""
    auto_assign: bool = False
    """For bridged: addresses are assigned out of `subnet`."""


class Action(Options):
    """An API call that the orchestrator offers for the image."""

    method: Text
    """The HTTP method."""
    path: Text
    """The path of the workload's API."""
    description: str | None = None
    """For people."""
    timeout_ms: Milliseconds | None = None
    """Milliseconds after which the call is given up."""


class HealthCheck(Options):
    """How the orchestrator finds out that the workload is ready; for http it is always there."""

    endpoint: Text = "/"
    """The path to poll until it answers 200."""
    timeout_ms: Milliseconds = 10000
    """Milliseconds after which the VM is taken for failed."""


class CloudInitDocument(Options):
    """One document of cloud-init, inline or from a file."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {"required": ["content", "path"]},
            "dependentSchemas": {
                "content": {"properties": {"inline": {"const": True}}},
                "path": {"properties": {"inline": {"const": False}}},
            },
        }
    )

    content: str | None = None
    """The document itself."""
    path: Text | None = None
    """A file with the document, read by the consumer of the manifest."""
    inline: bool | None = None
    """Whether `content` has it. Default: what the other keys say."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> CloudInitDocument:
        if self.content is not None and self.path is not None:
            raise ValueError("content and path exclude each other")
        if self.content is not None and self.inline is False:
            raise ValueError("inline is false although content is given")
        if self.path is not None and self.inline is True:
            raise ValueError("inline is true although path is given")
        return self


class CloudInit(Options):
    """Documents for cloud-init in the guest."""

    datasource: Text | None = None
    """cloud-init's data source: `NoCloud`."""
    seed_mode: Literal["vfat", "iso9660"] | None = None
    """The filesystem of the seed disk."""
    user_data: CloudInitDocument | None = None
    """The user-data document."""
    meta_data: CloudInitDocument | None = None
    """The meta-data document."""
    network_config: CloudInitDocument | None = None
    """The network-config document."""


class Devices(Options):
    """Devices of the host that are passed through."""

    pci_passthrough: tuple[PciAddress, ...] = ()
    """PCI addresses: `0000:01:00.0`."""
    allowlist: tuple[PciDevice, ...] = ()
    """The only devices that may be passed through, as `vendor:device` or `vendor:*` in hexadecimal."""


class Disk(Options):
    """A further disk."""

    name: Text
    """Its name."""
    source: Text
    """Where its image comes from: a URL or an absolute path."""
    format: Text | None = None
    """Its format, such as `raw` or `qcow2`."""
    checksum: Checksum | None = None
    """`sha256:...` of the image."""
    readonly: bool = False
    """Whether the guest may only read it."""
    target: Text | None = None
    """The device in the guest: `vdb`."""


class Rootfs(Options):
    """What the manifest says of the root filesystem; the build fills in url and checksum."""

    format: Text | None = None
    """Written instead of the filesystem's name: `raw` for orchestrators that know `raw` and `qcow2` only."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "url": "the build fills url in; --artifact-url changes it",
        "checksum": "the build fills checksum in",
    }


class Template(Options):
    """manifest.toml."""

    schema_version: Literal["v1", "1.0"]
    """The version of this format: `v1`; `1.0` is its older spelling."""
    name: Annotated[Text, AfterValidator(_is_file_name)]
    """The image's name; it also names the files that are built."""
    version: Text
    """The image's version."""
    runtime: Text | None = None
    """The runtime's name. Default: `name`."""
    enabled: bool = True
    """Whether the orchestrator may start VMs from the image."""
    resources: Resources | None = None
    workload: Workload | None = None
    network: Network | None = None
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the workload."""
    actions: dict[str, Action] = Field(default_factory=dict)
    """API calls, by name."""
    health_check: HealthCheck | None = None
    cloud_init: CloudInit | None = None
    devices: Devices | None = None
    disks: tuple[Disk, ...] = ()
    """Further disks, in their order."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels for organizing and finding images."""
    openapi: Text | None = None
    """The workload's OpenAPI document: a URL or an absolute path in the guest."""
    rootfs: Rootfs | None = None

    elsewhere: ClassVar[Mapping[str, str]] = {
        "initramfs": "the build fills the initramfs section in",
        "args": "args belongs to [workload]",
        "entrypoint": "entrypoint belongs to [workload]",
    }

    def written(self) -> dict[str, Any]:
        """What the user wrote, as JSON and in one form: `args` in the entrypoint, `[env]` in the workload's env."""
        data = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        workload = data.get("workload", {})
        if "args" in workload:
            workload["entrypoint"] += workload.pop("args")
        if env := data.pop("env", {}):
            workload["env"] = env | workload.get("env", {})
            data["workload"] = workload
        for document in data.get("cloud_init", {}).values():
            # Volant refuses a document with content unless inline says so.
            if isinstance(document, dict) and "content" in document:
                document["inline"] = True
        return data
