"""What every VMM must do, as far as no machine is started for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, get_args

from fledge.boot.kernel import KernelFormat
from fledge.boot.machine import Accelerator, Disk, Forward, HandedFiles, Machine
from fledge.context import BuildContext
from fledge.kinds import Vmm
from fledge.testing.conformance.driver import DriverConformance, only_if

MACHINE = Machine(
    architecture="amd64",
    kernel=Path("/kernels/the kernel"),
    initramfs=Path("/proc/self/fd/99"),
    disks=(Disk(Path("/artifacts/image.img"), read_only=True),),
    cpus=11,
    memory_mb=777,
    command_line="console=ttyS0 quoted='a b' $HOME",
)


class VmmConformance(DriverConformance):
    """Describes a machine to the VMM, and looks at the command line."""

    forwards: ClassVar[bool] = True
    """Whether it can forward ports without root."""

    kind = "vmm"
    base = Vmm

    def command(self, build: BuildContext, machine: Machine) -> list[str]:
        """The command line, and what it reads beside it, as one list of words."""
        driver = self.create(build)
        machine = replace(machine, accelerator=next(iter(sorted(driver.accelerators))))
        with HandedFiles() as files:
            words = list(driver.command(machine, files))
            assert all(isinstance(word, str) for word in words)
            for number, fd in enumerate(files.fds):
                words = [word.replace(str(HandedFiles.path(fd)), f"<{number}>") for word in words]
                words.append(HandedFiles.path(fd).read_bytes().decode(errors="replace"))
            return words

    def test_what_it_says_of_itself(self) -> None:
        """The class attributes by which kernels, accelerators and devices are chosen."""
        driver = self.driver
        assert driver.package
        assert driver.kernel_formats
        assert set(driver.kernel_formats) <= set(get_args(KernelFormat))
        assert driver.accelerators
        assert driver.accelerators <= set(get_args(Accelerator))
        assert driver.bus in ("pci", "mmio")

    def test_the_program_has_a_name(self, fledge_context: BuildContext) -> None:
        """For each architecture that Fledge builds for."""
        for architecture in ("amd64", "arm64"):
            assert self.create(fledge_context).program(architecture)

    def test_the_machine_is_what_was_asked_for(self, fledge_context: BuildContext) -> None:
        """Kernel, command line, disk, processors and memory are in the command, the words whole and unquoted."""
        said = "\n".join(self.command(fledge_context, MACHINE))
        for text in (
            "/kernels/the kernel",
            "/proc/self/fd/99",
            "/artifacts/image.img",
            MACHINE.command_line,
            "11",
            "777",
        ):
            assert text in said

    def test_a_disk_is_only_read_where_that_is_asked_for(self, fledge_context: BuildContext) -> None:
        """The artifact itself is attached, and must stay as it is."""
        (disk,) = MACHINE.disks
        writable = replace(MACHINE, disks=(replace(disk, read_only=False),))
        assert self.command(fledge_context, writable) != self.command(fledge_context, MACHINE)

    def test_the_same_command_each_time(self, fledge_context: BuildContext) -> None:
        """Nothing of a run before, and no names made up at random."""
        assert self.command(fledge_context, MACHINE) == self.command(fledge_context, MACHINE)

    @only_if(lambda cls: cls.forwards)
    def test_ports_are_forwarded(self, fledge_context: BuildContext) -> None:
        """On the host's loopback, where the VMM can do so without root."""
        assert self.driver.guest_network is not None
        said = "\n".join(self.command(fledge_context, replace(MACHINE, forwards=(Forward(10_080, 8080),))))
        assert "10080" in said
        assert "8080" in said
        assert "127.0.0.1" in said
