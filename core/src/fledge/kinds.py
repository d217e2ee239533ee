"""The kinds of driver: what each must offer. docs/plugins.md is the tutorial.

A driver is a class behind an entry point. Core reads `options_model` and the other class attributes to check the
config; it creates the driver once a build, registers it with the plugin manager, and from there on only calls
hooks. Drivers are safe to call from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from fledge.elf import check_program
from fledge.hookspecs import hookimpl
from fledge.sources import AgentRequest, DockerfileRequest, FileSource, ImageRequest, ImageSource, Request, Source

if TYPE_CHECKING:
    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.boot.kernel import KernelFormat
    from fledge.boot.machine import Accelerator, HandedFiles, Machine
    from fledge.context import BuildContext
    from fledge.options import Options
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree


class Driver(ABC):
    """What every kind has."""

    options_model: ClassVar[type[Options]]
    """The driver's own keys of fledge.toml, as a pydantic model."""

    def __init__(self, name: str, options: Options, context: BuildContext) -> None:
        """`name`: the entry point's. `options`: an instance of `options_model`. Must not do any work yet."""
        self.name = name
        self.options = options
        self.context = context


class Strategy(Driver):
    """Decides which sources a build needs and how they become a tree (`strategy = "..."`, group fledge.strategies).

    The options are top-level tables of fledge.toml: `source`, `init`.
    """

    artifact_kind: ClassVar[Literal["rootfs", "initramfs"]]
    default_filesystem: ClassVar[str]
    """The filesystem when `[filesystem] type` is not given."""
    filesystems: ClassVar[frozenset[str] | None] = None
    """The only filesystems that make sense with it; None: any."""

    @abstractmethod
    def requests(self, plan: BuildPlan) -> Sequence[Request]:
        """The sources that the build needs, in the order in which assemble_tree gets them."""

    @abstractmethod
    def artifact_name(self, plan: BuildPlan) -> str:
        """The artifact's file name when `--output` is not given: `nginx-rootfs.img`."""

    @hookimpl
    @abstractmethod
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        """See hookspecs.assemble_tree."""

    def check_tree(self, plan: BuildPlan, tree: Tree) -> None:
        """Called with the tree as it will be packed, after the mappings. Raises BuildError when it can't boot."""


class Filesystem(Driver):
    """Writes a tree into an artifact, and reads it back (`[filesystem] type`, group fledge.filesystems).

    The options are the keys of `[filesystem]` beside `type`.
    """

    suffix: ClassVar[str] = ".img"
    """What a direct build appends to the name; see `artifact_suffix`."""
    medium: ClassVar[Literal["disk", "initramfs"]] = "disk"
    """What a machine boots such an artifact as."""
    writable: ClassVar[bool] = True
    """Whether a guest can write to it; over what it can't, the guest init puts a tmpfs with overlayfs."""
    links_symlinks: ClassVar[bool] = True
    """Whether two names of one symlink still are one inode in the artifact."""

    @hookimpl
    @abstractmethod
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact.

        Same tree and options, same bytes. What the format can't hold raises BuildError with the path.
        """

    def import_ahead(self) -> None:
        """Imports what pack_artifact will need. Called while the sources are fetched, if that takes a while."""

    def held_mtime(self, mtime: int) -> int:
        """What the artifact holds of an mtime (ns): cut to the format's unit, clamped to its range."""
        return mtime

    def held_xattrs(self, xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """What the artifact holds of an inode's xattrs, in the form in which it is read back."""
        return xattrs

    @classmethod
    def artifact_suffix(cls, options: Options) -> str:
        """`suffix`, unless the options decide (`.cpio.gz`, `.cpio.zst`)."""
        return cls.suffix

    @classmethod
    @abstractmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether `head`, the first 128 KiB of a file or all of it, begins an artifact of this format."""

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """What a guest's kernel must have to read the artifact that begins with `head`, as for `recognizes`."""
        return ()

    @classmethod
    @abstractmethod
    def read_tree(cls, path: Path) -> Tree:
        """The artifact's tree, with contents that read from the file when asked. Raises BuildError when it is corrupt."""


class Transport(Driver):
    """Fetches images (`docker://...`, group fledge.transports); the entry point's name is the transport's."""

    @abstractmethod
    def fetch_image(self, request: ImageRequest) -> ImageSource:
        """Fetches the manifest, the config and the layers into the store; whatever is there already is not fetched."""

    @hookimpl
    def fetch_source(self, plan: BuildPlan, request: Request) -> Source | None:
        """See hookspecs.fetch_source."""
        if isinstance(request, ImageRequest) and request.reference.transport == self.name:
            return self.fetch_image(request)
        return None


class AgentSource(Driver):
    """Finds the agent's binary (`[agent] source_strategy`, group fledge.agents).

    The options are the keys of `[agent]` beside `source_strategy`.
    """

    @abstractmethod
    def fetch_agent(self, request: AgentRequest) -> FileSource:
        """The binary, verified where a checksum is known."""

    @hookimpl
    def fetch_source(self, plan: BuildPlan, request: Request) -> Source | None:
        """See hookspecs.fetch_source. Raises BuildError when the platform asked for can't run the file."""
        if isinstance(request, AgentRequest) and request.driver == self.name:
            source = self.fetch_agent(request)
            check_program(source.content, request.platform, f"the agent {source.origin}")
            return source
        return None


class Builder(Driver):
    """Builds an image from a Dockerfile (`[source] builder`, group fledge.builders)."""

    fetch_base: Callable[[ImageRequest], ImageSource]
    """Fetches a base image through the hooks, as every other image; core sets it before `build_image` is called."""

    @abstractmethod
    def obstacle(self, request: DockerfileRequest) -> str | None:
        """Why it can't build this here, in a few words for the log (`no buildkitd answers at ...`); None when it can.

        Quick, and without a trace. Raises nothing: it may be one of several that are asked.
        """

    @abstractmethod
    def build_image(self, request: DockerfileRequest) -> ImageSource:
        """Builds the image into the store. Whatever else it made is gone afterwards, also after an interrupt.

        What the steps print goes to the user as it comes. Raises BuildError, with the line of the Dockerfile where it
        is known.
        """

    @hookimpl
    def fetch_source(self, plan: BuildPlan, request: Request) -> Source | None:
        """See hookspecs.fetch_source."""
        if isinstance(request, DockerfileRequest) and request.driver == self.name:
            return replace(self.build_image(request), reference=request.reference)
        return None


class Vmm(Driver):
    """Runs a virtual machine (`fledge boot --vmm`, group fledge.vmms)."""

    package: ClassVar[str]
    """What to install for the program, for people."""
    kernel_formats: ClassVar[Sequence[KernelFormat]]
    """The kernels that it boots, the one to look for first first."""
    accelerators: ClassVar[frozenset[Accelerator]] = frozenset({"kvm"})
    """`tcg`: it can do without KVM."""
    bus: ClassVar[Literal["pci", "mmio"]] = "pci"
    """Where the guest finds its virtio devices."""
    guest_network: ClassVar[str | None] = None
    """The guest's address in the VMM's own network, as the guest init's `fledge.ip` takes it; None: it can't forward ports."""
    discards_writes: ClassVar[bool] = False
    """Whether it leaves the image of a writable disk as it is; else it is given a copy."""
    output_device: ClassVar[str | None] = None
    """What `Machine.output` is in the guest. None: it knows neither that nor `Machine.network` nor `Disk.kept`, and
    can't run the steps of a Dockerfile."""

    @abstractmethod
    def program(self, architecture: str) -> str:
        """The program's name or path."""

    @abstractmethod
    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        """The command line that runs `machine`: its console on stdin and stdout, and an end when the guest ends.

        `files` takes what the program reads beside it.
        """
