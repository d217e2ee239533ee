"""Cloud Hypervisor's command line for a machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from fledge.errors import UsageError
from fledge.kinds import Vmm
from fledge.options import NoOptions

if TYPE_CHECKING:
    from pathlib import Path

    from fledge.boot.kernel import KernelFormat
    from fledge.boot.machine import Disk, HandedFiles, Machine


class CloudHypervisor(Vmm):
    """Virtio over PCI. It has no network but through a tap device, which takes root: ports are not forwarded."""

    options_model: ClassVar = NoOptions
    package: ClassVar[str] = "cloud-hypervisor (github.com/cloud-hypervisor/cloud-hypervisor/releases)"
    kernel_formats: ClassVar[Sequence[KernelFormat]] = ("bzImage", "vmlinux", "Image")

    def program(self, architecture: str) -> str:
        """What CLOUDHYPERVISOR names, else `cloud-hypervisor`."""
        return self.context.environ.get("CLOUDHYPERVISOR") or "cloud-hypervisor"

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        """See kinds.Vmm.command."""
        argv = [self.program(machine.architecture), "--serial", "tty", "--console", "off"]
        argv += ["--cpus", f"boot={machine.cpus}", "--memory", f"size={machine.memory_mb}M"]
        argv += ["--kernel", str(machine.kernel), "--cmdline", machine.command_line]
        if machine.initramfs is not None:
            argv += ["--initramfs", str(machine.initramfs)]
        if machine.disks:
            argv += ["--disk", *map(_disk, machine.disks)]
        return argv


def _disk(disk: Disk) -> str:
    # Told to be raw: an image is never searched for another format's header, which its guest could have written.
    return f"path={_value(disk.path)},readonly={'on' if disk.read_only else 'off'},image_type=raw"


def _value(path: Path) -> str:
    """Its option parser splits at commas and knows no escape but quotes."""
    if '"' in str(path):
        raise UsageError(f"cloud-hypervisor can't be given the path {path}: it has a quote in it")
    return f'"{path}"' if any(char in str(path) for char in ",[]") else str(path)
