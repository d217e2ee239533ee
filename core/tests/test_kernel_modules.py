from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard
from fledge.errors import BuildError
from fledge.kernel_modules import KernelModules, Module, name_of

DEP = """\
kernel/fs/squashfs/squashfs.ko:
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/net/core/failover.ko.xz:
kernel/drivers/net/virtio-net.ko.zst: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/btrfs/btrfs.ko: kernel/lib/raid6_pq.ko
kernel/lib/raid6_pq.ko:
kernel/crypto/blake2b_generic.ko:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modules.dep").write_text(DEP)
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n")
    (tmp_path / "modules.softdep").write_text(
        "# by depmod\nsoftdep btrfs pre: blake2b-256 nowhere post: squashfs\nsoftdep squashfs post: btrfs\n"
    )
    (tmp_path / "modules.alias").write_text(
        "alias crypto-blake2b-256 blake2b_generic\nalias blake2b-256 blake2b_generic\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([], []),
        (["ext4", "virtio-pci"], []),
        (["squashfs"], ["squashfs"]),
        (["virtio_net"], ["virtio", "virtio_ring", "failover", "net_failover", "virtio_net"]),
        (["virtio-net", "virtio_ring"], ["virtio", "virtio_ring", "failover", "net_failover", "virtio_net"]),
        (["btrfs"], ["blake2b_generic", "raid6_pq", "btrfs"]),
    ],
)
def test_each_module_comes_after_what_it_needs(folder: Path, names: list[str], order: list[str]) -> None:
    assert [module.name for module in KernelModules(folder).closure(names)] == order


def test_a_name_that_is_nowhere_is_an_error(folder: Path) -> None:
    with pytest.raises(BuildError, match=f"unknown kernel module 'squash'.*{folder}"):
        KernelModules(folder).closure(["squash"])


def test_modules_that_need_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text("a.ko: b.ko\nb.ko: a.ko\n")
    assert [module.name for module in KernelModules(tmp_path).closure(["a"])] == ["b", "a"]


def test_a_folder_without_modules_dep_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"{tmp_path} is not a folder of kernel modules"):
        KernelModules(tmp_path)


@pytest.mark.parametrize("name", ["virtio_blk", "virtio-blk", "kernel/virtio-blk.ko", "/x/virtio_blk.ko.zst"])
def test_names(name: str) -> None:
    assert name_of(name) == "virtio_blk"


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_modules_are_read_as_plain_ko(tmp_path: Path, suffix: str, compress: object) -> None:
    path = tmp_path / f"a.ko{suffix}"
    path.write_bytes(compress(b"\x7fELF module"))  # type: ignore[operator]
    assert Module("a", path).read() == b"\x7fELF module"


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_damaged_module_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.ko{suffix}"
    path.write_bytes(b"\x7fELF")
    with pytest.raises(BuildError, match=f"{path.name} can't be decompressed"):
        Module("a", path).read()
