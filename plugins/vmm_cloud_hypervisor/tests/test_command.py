from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fledge.boot.machine import Disk, HandedFiles, Machine
from fledge.errors import UsageError
from fledge.options import NoOptions
from fledge.testing.builds import context
from fledge_vmm_cloud_hypervisor.driver import CloudHypervisor

MACHINE = Machine(
    architecture="amd64",
    kernel=Path("/k/bzImage"),
    initramfs=Path("/proc/self/fd/5"),
    disks=(Disk(Path("/a/image.img"), read_only=True), Disk(Path("/a/b,c"), read_only=False)),
    cpus=2,
    memory_mb=512,
    command_line="console=ttyS0 root=/dev/vda",
)


def command(tmp_path: Path, machine: Machine, **environ: str) -> list[str]:
    with HandedFiles() as files:
        return list(
            CloudHypervisor("cloud-hypervisor", NoOptions(), context(tmp_path, environ=environ)).command(machine, files)
        )


def test_the_command_line(tmp_path: Path) -> None:
    assert command(tmp_path, MACHINE) == [
        "cloud-hypervisor",
        *("--serial", "tty", "--console", "off"),
        *("--cpus", "boot=2", "--memory", "size=512M"),
        *("--kernel", "/k/bzImage", "--cmdline", "console=ttyS0 root=/dev/vda"),
        *("--initramfs", "/proc/self/fd/5"),
        *("--disk", "path=/a/image.img,readonly=on,image_type=raw", 'path="/a/b,c",readonly=off,image_type=raw'),
    ]


def test_an_initramfs_artifact_has_no_disk(tmp_path: Path) -> None:
    assert "--disk" not in command(tmp_path, replace(MACHINE, disks=()))


def test_the_environment_names_the_program(tmp_path: Path) -> None:
    assert command(tmp_path, MACHINE, CLOUDHYPERVISOR="/opt/ch")[0] == "/opt/ch"
    assert command(tmp_path, MACHINE, CLOUDHYPERVISOR="")[0] == "cloud-hypervisor"


def test_a_path_that_it_can_not_take(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a quote in it"):
        command(tmp_path, replace(MACHINE, disks=(Disk(Path('/a"'), read_only=True),)))


def test_it_takes_a_copy_of_a_writable_image_and_forwards_nothing() -> None:
    assert not CloudHypervisor.discards_writes
    assert CloudHypervisor.guest_network is None
    assert CloudHypervisor.accelerators == {"kvm"}
