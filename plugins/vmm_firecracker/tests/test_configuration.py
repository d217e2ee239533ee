from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from fledge.boot.machine import Disk, HandedFiles, Machine
from fledge.options import NoOptions
from fledge.testing.builds import context
from fledge_vmm_firecracker.driver import Firecracker, configuration

MACHINE = Machine(
    architecture="amd64",
    kernel=Path("/k/vmlinux"),
    initramfs=Path("/proc/self/fd/5"),
    disks=(Disk(Path("/a/image.img"), read_only=True),),
    cpus=2,
    memory_mb=512,
    command_line="console=ttyS0 root=/dev/vda",
)


def test_the_configuration_and_the_command_line(tmp_path: Path) -> None:
    with HandedFiles() as files:
        argv = Firecracker("firecracker", NoOptions(), context(tmp_path)).command(MACHINE, files)
        assert argv[:3] == ["firecracker", "--no-api", "--config-file"]
        assert json.loads(Path(argv[3]).read_bytes()) == {
            "boot-source": {
                "kernel_image_path": "/k/vmlinux",
                "boot_args": "console=ttyS0 root=/dev/vda reboot=k",
                "initrd_path": "/proc/self/fd/5",
            },
            "drives": [
                {"drive_id": "disk0", "path_on_host": "/a/image.img", "is_root_device": False, "is_read_only": True}
            ],
            "machine-config": {"vcpu_count": 2, "mem_size_mib": 512},
        }


def test_an_initramfs_on_arm64() -> None:
    found = configuration(replace(MACHINE, architecture="arm64", disks=(), initramfs=None))
    assert found["drives"] == []
    assert found["boot-source"] == {"kernel_image_path": "/k/vmlinux", "boot_args": "console=ttyS0 root=/dev/vda"}


def test_it_boots_uncompressed_kernels_over_mmio() -> None:
    assert list(Firecracker.kernel_formats) == ["vmlinux", "Image"]
    assert Firecracker.bus == "mmio"
    assert Firecracker.accelerators == {"kvm"}
    assert Firecracker.guest_network is None
    assert not Firecracker.discards_writes
