"""Firecracker's configuration for a machine, as its API takes it (docs/getting-started.md of Firecracker)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fledge.kinds import Vmm
from fledge.options import NoOptions

if TYPE_CHECKING:
    from fledge.boot.kernel import KernelFormat
    from fledge.boot.machine import HandedFiles, Machine


class Firecracker(Vmm):
    """Virtio over MMIO. It has no network but through a tap device, which takes root: ports are not forwarded."""

    options_model: ClassVar = NoOptions
    package: ClassVar[str] = "firecracker (github.com/firecracker-microvm/firecracker/releases)"
    # An uncompressed ELF kernel on x86_64, an Image on aarch64.
    kernel_formats: ClassVar[Sequence[KernelFormat]] = ("vmlinux", "Image")
    bus: ClassVar[Literal["pci", "mmio"]] = "mmio"

    def program(self, architecture: str) -> str:
        """`firecracker`."""
        return "firecracker"

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        """See kinds.Vmm.command."""
        config = files.add("firecracker.json", json.dumps(configuration(machine)).encode())
        # Without an API it takes the configuration once, and ends with the guest.
        return [self.program(machine.architecture), "--no-api", "--config-file", str(config)]


def configuration(machine: Machine) -> dict[str, Any]:
    """The request bodies of the API, by resource."""
    # The keyboard controller's reset is how an x86 guest ends Firecracker; it has no ACPI power-off.
    more = " reboot=k" if machine.architecture == "amd64" else ""
    source = {"kernel_image_path": str(machine.kernel), "boot_args": machine.command_line + more}
    if machine.initramfs is not None:
        source["initrd_path"] = str(machine.initramfs)
    return {
        "boot-source": source,
        "drives": [
            {
                "drive_id": f"disk{number}",
                "path_on_host": str(disk.path),
                # The guest init finds its root by the kernel's command line; Firecracker would add another root=.
                "is_root_device": False,
                "is_read_only": disk.read_only,
            }
            for number, disk in enumerate(machine.disks)
        ],
        "machine-config": {"vcpu_count": machine.cpus, "mem_size_mib": machine.memory_mb},
    }
