from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fledge.boot.machine import Disk, Forward, HandedFiles, Machine
from fledge.options import NoOptions
from fledge.testing.builds import context
from fledge_vmm_qemu.driver import Qemu

MACHINE = Machine(
    architecture="amd64",
    kernel=Path("/k/bzImage"),
    initramfs=Path("/proc/self/fd/5"),
    disks=(Disk(Path("/a/image,1.img"), read_only=True), Disk(Path("/a/data"), read_only=False)),
    cpus=2,
    memory_mb=512,
    command_line="console=ttyS0 root=/dev/vda",
    forwards=(Forward(1080, 80), Forward(1053, 53, "udp")),
)


def command(tmp_path: Path, machine: Machine) -> str:
    with HandedFiles() as files:
        argv = Qemu("qemu", NoOptions(), context(tmp_path)).command(machine, files)
        assert files.fds == []
    return "\n".join(argv)


def test_the_command_line(tmp_path: Path) -> None:
    assert command(tmp_path, MACHINE) == (
        "qemu-system-x86_64\n-nodefaults\n-no-user-config\n-no-reboot\n-display\nnone\n-monitor\nnone\n-serial\nstdio\n"
        "-machine\nq35,accel=kvm\n-cpu\nhost\n-smp\n2\n-m\n512M\n"
        "-kernel\n/k/bzImage\n-append\nconsole=ttyS0 root=/dev/vda\n-initrd\n/proc/self/fd/5\n"
        "-drive\nfile=/a/image,,1.img,format=raw,if=none,id=disk0,readonly=on\n-device\nvirtio-blk-pci,drive=disk0\n"
        "-drive\nfile=/a/data,format=raw,if=none,id=disk1,snapshot=on\n-device\nvirtio-blk-pci,drive=disk1\n"
        "-netdev\nuser,id=net,hostfwd=tcp:127.0.0.1:1080-:80,hostfwd=udp:127.0.0.1:1053-:53\n"
        "-device\nvirtio-net-pci,netdev=net,romfile=\n-device\nvirtio-rng-pci"
    )


def test_a_machine_without_network_has_no_card(tmp_path: Path) -> None:
    assert "net" not in command(tmp_path, replace(MACHINE, forwards=()))


def test_a_step_of_a_build_has_a_port_for_its_output_before_its_disks(tmp_path: Path) -> None:
    disks = (Disk(Path("/a/lower"), read_only=True), Disk(Path("/a/scratch"), read_only=False, kept=True))
    machine = replace(MACHINE, forwards=(), network=True, output=Path("/proc/self/fd/6"), disks=disks)
    assert (
        "-initrd\n/proc/self/fd/5\n-chardev\nfile,id=output,path=/proc/self/fd/6\n-device\nvirtio-serial-pci,max_ports=2\n"
        "-device\nvirtserialport,chardev=output,nr=1\n"
        "-drive\nfile=/a/lower,format=raw,if=none,id=disk0,readonly=on\n-device\nvirtio-blk-pci,drive=disk0\n"
        "-drive\nfile=/a/scratch,format=raw,if=none,id=disk1,cache=unsafe,werror=report\n"
        "-device\nvirtio-blk-pci,drive=disk1\n-netdev\nuser,id=net\n-device\nvirtio-net-pci,netdev=net,romfile="
    ) in command(tmp_path, machine)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"accelerator": "tcg"}, "-machine\nq35,accel=tcg\n-cpu\nmax\n"),
        ({"architecture": "arm64"}, "qemu-system-aarch64\n"),
        ({"architecture": "arm64"}, "-machine\nvirt,accel=kvm\n"),
        ({"attached": True}, "-serial\nmon:stdio\n"),
    ],
)
def test_what_depends_on_the_machine(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    assert expected in command(tmp_path, replace(MACHINE, **change))  # type: ignore[arg-type]


def test_an_initramfs_artifact_has_no_disk(tmp_path: Path) -> None:
    assert "-drive" not in command(tmp_path, replace(MACHINE, disks=()))
