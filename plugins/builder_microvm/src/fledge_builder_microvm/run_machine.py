"""The machine that runs a step: what it is made of here, and its life from start to end."""

from __future__ import annotations

import io
import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from fledge import tools
from fledge.boot import features, hardware
from fledge.boot.console import Closed, Complained, Console, Exited, Panicked
from fledge.boot.features import KernelFeature
from fledge.boot.kernel import Kernel
from fledge.boot.machine import Accelerator, Disk, HandedFiles, Machine
from fledge.context import usable_cores
from fledge.errors import BuildError, UsageError

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.kernel_modules import Module
    from fledge.kinds import Vmm

_LAST_MOMENT: Final = 2.0
"""Seconds between the end of the console and that of the VMM."""
_WRITE_FAILED: Final = "cannot write to "
"""The guest init's words."""
_MEMORY_MIN: Final = 128
_SETTINGS: Final = {"FLEDGE_BUILD_MEMORY_MB": 2048, "FLEDGE_BUILD_DISK_MB": 16384}


class WriteError(BuildError):
    """Not all that a step wrote is on the machine's disks, which are files of the cache folder."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step's machine has. `disk_mb`: how much it may write; the host's disk is filled only by what it does."""

    memory_mb: int
    disk_mb: int
    cpus: int

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """From FLEDGE_BUILD_MEMORY_MB and FLEDGE_BUILD_DISK_MB, in MiB. Raises UsageError for what is no number."""
        memory, disk = (_megabytes(environ, name, default) for name, default in _SETTINGS.items())
        return cls(memory, disk, usable_cores())


def _megabytes(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,8}", text) or int(text) < _MEMORY_MIN:
        raise UsageError(f"{name} is {text!r}; it takes a number of MiB, at least {_MEMORY_MIN}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What every step's machine on this host is made of."""

    vmm: Vmm
    kernel: Kernel
    accelerator: Accelerator
    resources: Resources

    @classmethod
    def choose(cls, context: BuildContext, architecture: str) -> Self:
        """Raises UsageError or BuildError when something is missing, or when no step for `architecture` runs here."""
        vmm, kernel = find_vmm_and_kernel(context)
        if kernel.architecture != architecture:
            raise BuildError(f"the kernel {kernel.path} is for {kernel.architecture}, and the image for {architecture}")
        wanted = hardware.wanted_accelerator(context.environ.get("FLEDGE_ACCEL"))
        accelerator = hardware.choose_accelerator(wanted, vmm, kernel, context)
        return cls(vmm, kernel, accelerator, Resources.of(context.environ))

    def modules(self, reads: Sequence[KernelFeature], *, network: bool) -> Sequence[Module]:
        """What the guest loads. `reads`: what its disks' filesystem takes. Raises BuildError when the kernel lacks it."""
        needed = features.needed(reads, "disk", writable=False, bus=self.vmm.bus, network=network)
        hint = "name another kernel with FLEDGE_KERNEL_BZIMAGE, or its modules with FLEDGE_KERNEL_MODULES"
        return hardware.choose_modules(self.kernel, [*needed, features.VIRTIO_CONSOLE], "RUN can't be done here", hint)


def find_vmm_and_kernel(context: BuildContext) -> tuple[Vmm, Kernel]:
    """The VMM that can run steps, and the kernel that it boots. Raises UsageError or BuildError when one is missing."""
    vmm = hardware.choose_vmm(None, context, lambda one: one.output_device is not None)
    if not hardware.is_installed(vmm):
        program = vmm.program(hardware.host_architecture())
        raise UsageError(f"{program} is not installed", hint=f"install {vmm.package}")
    return vmm, hardware.choose_kernel(vmm, None, None, context, option=None)


def run_machine(
    made_of: Hardware,
    initramfs: bytes,
    disks: Sequence[Disk],
    *,
    network: bool,
    context: BuildContext,
    output: Callable[[bytes], None],
) -> Console:
    """Runs the machine to its end; `output` gets what the step prints as it comes, in another thread.

    Raises BuildError when the machine ends before the guest init says that the step has ended, WriteError where the
    reason is one of the disks.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with HandedFiles() as files, open(read_end, "rb", buffering=0) as stream:
        files.fds.append(write_end)
        console = Console()
        machine = _describe(made_of, initramfs, disks, files, write_end, network=network)
        argv = made_of.vmm.command(machine, files)
        with tools.running(argv, context.progress, pass_fds=files.fds, package=made_of.vmm.package) as process:
            # Without our end, the pipe ends with the VMM.
            files.fds.remove(write_end)
            os.close(write_end)
            relay = threading.Thread(target=_pump, args=(stream, output), daemon=True, name="fledge-output")
            relay.start()
            console.follow(process)
            try:
                _wait(console, process)
            finally:
                process.kill()
                relay.join()
    return console


def _describe(
    made_of: Hardware, initramfs: bytes, disks: Sequence[Disk], files: HandedFiles, output: int, *, network: bool
) -> Machine:
    vmm, kernel = made_of.vmm, made_of.kernel
    words = [f"console={hardware.CONSOLES[kernel.architecture]}", "quiet", "panic=-1"]
    words += ["root=/dev/vda", "rootfstype=ext4", "ro"]
    # A machine for one program that may do in it what it likes: nothing to protect, and a tenth of the boot to save.
    words += ["mitigations=off", "nokaslr", "cryptomgr.notests"]
    if network and vmm.guest_network is not None:
        words.append(f"fledge.ip={vmm.guest_network}")
    return Machine(
        architecture=kernel.architecture,
        kernel=kernel.path,
        initramfs=files.add("initramfs", initramfs),
        disks=tuple(disks),
        cpus=made_of.resources.cpus,
        memory_mb=made_of.resources.memory_mb,
        command_line=" ".join(words),
        network=network,
        output=files.path(output),
        accelerator=made_of.accelerator,
    )


def _pump(stream: io.RawIOBase, output: Callable[[bytes], None]) -> None:
    while data := stream.read(65536):
        output(data)


def _wait(console: Console, process: subprocess.Popen[bytes]) -> None:
    """Until the guest init says that the step has ended; its disk is unmounted then."""
    complaint: str | None = None
    while True:
        match console.next(60):
            case Exited():
                return
            case Complained(text):
                complaint = complaint or text
            case Panicked(text):
                raise BuildError(f"the guest's kernel panicked: {text}", transcript=console.tail())
            case Closed():
                break
    try:
        code = process.wait(_LAST_MOMENT)
    except subprocess.TimeoutExpired:
        process.kill()
        code = 0
    said = console.errors()
    if complaint is not None and complaint.startswith(_WRITE_FAILED):
        raise WriteError(complaint, hint="the disk of the cache folder may be full")
    if complaint is not None:
        raise BuildError(complaint)
    if code != 0 and said:
        raise BuildError(f"the VMM ended with exit code {code}: {said[-1]}", transcript=[*console.tail(), *said])
    raise BuildError("the machine ended before the step did", transcript=console.tail())
