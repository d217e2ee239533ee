"""QEMU's command line for a machine (qemu(1))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from fledge.kinds import Vmm
from fledge.options import NoOptions

if TYPE_CHECKING:
    from fledge.boot.kernel import KernelFormat
    from fledge.boot.machine import Accelerator, Disk, HandedFiles, Machine

PROGRAMS: Final = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
MACHINES: Final = {"amd64": "q35", "arm64": "virt"}


class Qemu(Vmm):
    """A PC (or Arm's `virt`) with virtio over PCI and user-mode network; nothing else is in it."""

    options_model: ClassVar = NoOptions
    package: ClassVar[str] = "qemu-system-x86, or qemu-system-arm for arm64"
    kernel_formats: ClassVar[Sequence[KernelFormat]] = ("bzImage", "vmlinux", "Image")
    accelerators: ClassVar[frozenset[Accelerator]] = frozenset({"kvm", "tcg"})
    # Slirp's defaults: the guest, the gateway, the name server.
    guest_network: ClassVar[str | None] = "10.0.2.15/24,10.0.2.2,10.0.2.3"
    discards_writes: ClassVar[bool] = True
    output_device: ClassVar[str | None] = "/dev/vport0p1"

    def program(self, architecture: str) -> str:
        """`qemu-system-x86_64` or `qemu-system-aarch64`."""
        return PROGRAMS.get(architecture, PROGRAMS["amd64"])

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        """See kinds.Vmm.command."""
        argv = [self.program(machine.architecture), "-nodefaults", "-no-user-config", "-no-reboot"]
        argv += ["-display", "none", "-monitor", "none"]
        # Ctrl-a x ends QEMU, Ctrl-c goes to the guest.
        argv += ["-serial", "mon:stdio" if machine.attached else "stdio"]
        argv += ["-machine", f"{MACHINES.get(machine.architecture, 'q35')},accel={machine.accelerator}"]
        argv += ["-cpu", "host" if machine.accelerator == "kvm" else "max"]
        argv += ["-smp", str(machine.cpus), "-m", f"{machine.memory_mb}M"]
        argv += ["-kernel", str(machine.kernel), "-append", machine.command_line]
        if machine.initramfs is not None:
            argv += ["-initrd", str(machine.initramfs)]
        if machine.output is not None:
            # Before all other virtio devices: the guest's name for it has their number. As a file, a pipe that is open
            # already is written to and never read.
            argv += ["-chardev", f"file,id=output,path={machine.output}", "-device", "virtio-serial-pci,max_ports=2"]
            argv += ["-device", "virtserialport,chardev=output,nr=1"]
        for number, disk in enumerate(machine.disks):
            argv += ["-drive", _drive(disk, number), "-device", f"virtio-blk-pci,drive=disk{number}"]
        if machine.forwards or machine.network:
            # Loopback only, on both sides of what the guest may reach: no service of the host, no network beyond it.
            forwards = "".join(
                f",hostfwd={one.protocol}:127.0.0.1:{one.host_port}-:{one.guest_port}" for one in machine.forwards
            )
            argv += ["-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]
        argv += ["-device", "virtio-rng-pci"]
        return argv


def _drive(disk: Disk, number: int) -> str:
    # The image is attached as raw whatever it holds: a guest that wrote a qcow2 header into its disk could else read
    # any file of the host at the next start.
    path = str(disk.path).replace(",", ",,")
    # What is kept is read when the machine has ended, so it need not survive the host; and where the host's disk is
    # full, the guest gets an error, while QEMU's own way is to stop the guest until there is room.
    mode = "readonly=on" if disk.read_only else "cache=unsafe,werror=report" if disk.kept else "snapshot=on"
    return f"file={path},format=raw,if=none,id=disk{number},{mode}"
