"""VMMs with one mistake each, and the checks of the kit that must find it. The one without is `qemu`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar
from uuid import uuid4

from fledge.boot.machine import HandedFiles, Machine
from fledge_vmm_qemu.driver import Qemu


class Good(Qemu):
    """No mistake."""

    caught_by: ClassVar[frozenset[str]] = frozenset()


class ComesFromNowhere(Good):
    caught_by: ClassVar = {"test_what_it_says_of_itself"}
    package: ClassVar[str] = ""


class KnowsOneArchitecture(Good):
    caught_by: ClassVar = {"test_the_program_has_a_name"}

    def program(self, architecture: str) -> str:
        return {"amd64": super().program("amd64")}[architecture]


class ForgetsTheMemory(Good):
    caught_by: ClassVar = {"test_the_machine_is_what_was_asked_for"}

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        return super().command(replace(machine, memory_mb=128), files)


class HasThreeProcessors(Good):
    caught_by: ClassVar = {"test_the_machine_is_what_was_asked_for"}

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        return super().command(replace(machine, cpus=3), files)


class CutsTheCommandLine(Good):
    caught_by: ClassVar = {"test_the_machine_is_what_was_asked_for"}

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        return super().command(replace(machine, command_line=machine.command_line.split()[0]), files)


class WritesToEveryDisk(Good):
    caught_by: ClassVar = {"test_a_disk_is_only_read_where_that_is_asked_for"}

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        return super().command(
            replace(machine, disks=tuple(replace(disk, read_only=False) for disk in machine.disks)), files
        )


class NamesTheMachineAnew(Good):
    caught_by: ClassVar = {"test_the_same_command_each_time"}

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        return [*super().command(machine, files), "-name", uuid4().hex]


class ListensEverywhere(Good):
    caught_by: ClassVar = {"test_ports_are_forwarded"}

    def command(self, machine: Machine, files: HandedFiles) -> Sequence[str]:
        return [word.replace("127.0.0.1", "0.0.0.0") for word in super().command(machine, files)]
