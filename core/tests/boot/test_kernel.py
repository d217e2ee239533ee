from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest
import zstandard
from fledge.boot.features import OVERLAY, TMPFS, VIRTIO_BLK, VIRTIO_PCI, KernelFeature, lacking, needed, to_load
from fledge.boot.hardware import choose_modules
from fledge.boot.kernel import PLACES, Kernel, KernelFormat, find_kernel, parse_config, read_kernel
from fledge.errors import BuildError, UsageError
from fledge.testing.boots import need_kernel
from fledge.testing.venvs import as_nobody

RELEASE = "6.6.1-test"
CONFIG = 'CONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_PCI=y\n# CONFIG_OVERLAY_FS is not set\nCONFIG_NAME="a b"\n'
BANNER = f"Linux version {RELEASE} (builder) #1 SMP\n".encode()
IKCONFIG = b"IKCFG_ST" + gzip.compress(CONFIG.encode(), mtime=0) + b"IKCFG_ED"


def bzimage(payload: bytes = b"", xloadflags: int = 1) -> bytes:
    """The setup header of Documentation/arch/x86/boot.rst, four setup sectors, and the payload after 32 bytes."""
    head = bytearray(5 * 512)
    head[0x1F1] = 4
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x400)
    head[0x236] = xloadflags
    struct.pack_into("<I", head, 0x1F4, -(-(36 + len(payload)) // 16))
    struct.pack_into("<II", head, 0x248, 32, len(payload) + 4)
    version = f"{RELEASE} (builder) #1 SMP\0".encode()
    head[0x600 : 0x600 + len(version)] = version
    return bytes(head) + bytes(32) + payload + struct.pack("<I", 1 << 20)


def elf(machine: int, content: bytes) -> bytes:
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + struct.pack("<H", machine) + bytes(44) + content


def arm64(content: bytes) -> bytes:
    return bytes(0x38) + b"ARM\x64" + bytes(4) + content


def write(folder: Path, data: bytes) -> Path:
    path = folder / "kernel"
    path.write_bytes(data)
    return path


def test_debians_kernel() -> None:
    path = need_kernel()
    kernel = read_kernel(path, None)
    assert kernel.format == "bzImage"
    assert kernel.architecture == "amd64"
    assert kernel.release == path.name.removeprefix("vmlinuz-")
    assert kernel.modules is not None
    assert kernel.presence(VIRTIO_BLK) == "module"
    assert kernel.presence(TMPFS) == "built in"
    assert kernel.presence(KernelFeature("EXT4_FS", "ext4", "ext4")) == "built in"
    assert kernel.presence(KernelFeature("SQUASHFS_ZSTD", "zstd")) == "built in"
    assert kernel.presence(KernelFeature("SQUASHFS_4K_DEVBLK_SIZE", "4k")) == "missing"
    features = needed((), "disk", writable=False, bus="pci", network=True)
    assert lacking(kernel, features) is None
    assert to_load(kernel, features) == ["virtio_pci", "virtio_blk", "overlay", "virtio_net"]


@pytest.mark.parametrize(
    ("data", "form", "architecture"),
    [
        (bzimage(), "bzImage", "amd64"),
        (bzimage(xloadflags=0), "bzImage", "386"),
        (elf(62, BANNER), "vmlinux", "amd64"),
        (elf(183, BANNER), "vmlinux", "arm64"),
        (elf(243, b"Linux version %s (" + BANNER), "vmlinux", "machine 243"),
        (arm64(BANNER), "Image", "arm64"),
    ],
)
def test_kernels_are_recognized(tmp_path: Path, data: bytes, form: str, architecture: str) -> None:
    kernel = read_kernel(write(tmp_path, data), None)
    assert (kernel.format, kernel.architecture, kernel.release) == (form, architecture, RELEASE)
    assert kernel.config is None
    assert kernel.modules is None
    assert kernel.presence(VIRTIO_BLK) == "unknown"


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (elf(62, BANNER + IKCONFIG), True),
        (arm64(BANNER + IKCONFIG), True),
        (elf(62, BANNER + b"IKCFG_ST\x1f\x8bnot gzipIKCFG_ED"), False),
        (bzimage(gzip.compress(IKCONFIG, mtime=0)), True),
        (bzimage(lzma.compress(IKCONFIG)), True),
        (bzimage(zstandard.ZstdCompressor().compress(IKCONFIG)), True),
        (bzimage(gzip.compress(b"no config", mtime=0)), False),
        (bzimage(b"\x02\x21\x4c\x18 lz4"), False),
        (bzimage(b"\x1f\x8b\x08 broken"), False),
        (bzimage(b"\xfd7zXZ\0 broken"), False),
        (bzimage(b"\x28\xb5\x2f\xfd broken"), False),
    ],
)
def test_the_config_within_a_kernel(tmp_path: Path, data: bytes, known: bool) -> None:
    config = read_kernel(write(tmp_path, data), None).config
    assert config == (parse_config(CONFIG) if known else None)


def test_the_config_beside_a_kernel(tmp_path: Path) -> None:
    (tmp_path / f"config-{RELEASE}").write_text(CONFIG)
    assert read_kernel(write(tmp_path, bzimage()), None).config == {
        "VIRTIO_BLK": "m",
        "VIRTIO_PCI": "y",
        "NAME": '"a b"',
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"x", "is no kernel"),
        (b"MZ" + bytes(1000), "is no kernel"),
        (b"\x7fELF", r"is no kernel.*begins with b'\\x7fELF'"),
        (elf(62, b"")[:20], "is no kernel: 'Linux version' is nowhere in it"),
        (b"#!/bin/sh\n" + bytes(1000), "is no kernel.*begins with b'#!/bin/s'"),
        (elf(62, b"some other program"), "is no kernel: 'Linux version' is nowhere in it"),
        (bzimage(bytes(4096))[:-1000], "is cut short: 5692 of 6704 bytes are there"),
    ],
)
def test_what_is_no_kernel_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        read_kernel(write(tmp_path, data), None)


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"there is no kernel {tmp_path}/none"):
        read_kernel(tmp_path / "none", None)
    with pytest.raises(BuildError, match=r"can't read the kernel .*: Is a directory"):
        read_kernel(tmp_path, None)


@pytest.mark.parametrize("below", ["", RELEASE, f"lib/modules/{RELEASE}"])
def test_modules_are_found_below_the_folder(tmp_path: Path, below: str) -> None:
    folder = tmp_path / "modules" / below
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/virtio_blk.ko:\n")
    (folder / "modules.builtin").write_text("kernel/virtio_pci.ko\n")
    kernel = read_kernel(write(tmp_path, bzimage()), tmp_path / "modules")
    assert kernel.presence(VIRTIO_BLK) == "module"
    assert kernel.presence(VIRTIO_PCI) == "built in"
    assert kernel.presence(OVERLAY) == "missing"
    assert kernel.presence(TMPFS) == "unknown"


def test_a_release_that_no_folder_can_be_called(tmp_path: Path) -> None:
    release = "6." + "1" * 400
    assert (
        read_kernel(write(tmp_path, elf(62, BANNER.replace(RELEASE.encode(), release.encode()))), None).modules is None
    )


def test_a_folder_of_modules_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is not a folder of kernel modules"):
        read_kernel(write(tmp_path, bzimage()), tmp_path)
    with pytest.raises(BuildError, match=r"there is no folder of kernel modules .*/none"):
        read_kernel(write(tmp_path, bzimage()), tmp_path / "none")


@pytest.mark.parametrize("release", [RELEASE, "6.6.2-test"])
def test_modules_are_the_kernels(tmp_path: Path, release: str) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "modules.dep").write_text("virtio_blk.ko:\n")
    (folder / "virtio_blk.ko").write_bytes(b"\x7fELF name=virtio_blk\0vermagic=%s SMP mod_unload \0" % release.encode())
    kernel = read_kernel(write(tmp_path, bzimage()), folder)
    if release == RELEASE:
        assert [one.name for one in choose_modules(kernel, [VIRTIO_BLK], "x can't boot", "hint")] == ["virtio_blk"]
        return
    with pytest.raises(
        BuildError, match=f"x can't boot: the modules in {folder} are for Linux 6.6.2-test, and .* is 6.6.1-test"
    ):
        choose_modules(kernel, [VIRTIO_BLK], "x can't boot", "hint")


def test_what_a_kernel_lacks_is_one_line(tmp_path: Path) -> None:
    (tmp_path / f"config-{RELEASE}").write_text(CONFIG)
    kernel = read_kernel(write(tmp_path, bzimage()), None)
    assert lacking(kernel, [VIRTIO_PCI, OVERLAY, VIRTIO_BLK, TMPFS]) == (
        f"the kernel {tmp_path}/kernel ({RELEASE}) has no overlayfs (CONFIG_OVERLAY_FS), tmpfs (CONFIG_TMPFS) "
        "and has virtio disks (CONFIG_VIRTIO_BLK) only as a module, and no folder of modules was found"
    )
    assert lacking(kernel, [VIRTIO_PCI]) is None


def test_what_is_unknown_is_not_lacking(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "bzImage", "amd64", RELEASE, None, None)
    assert lacking(kernel, [VIRTIO_PCI, OVERLAY]) is None
    assert to_load(kernel, [VIRTIO_PCI, OVERLAY]) == []


def test_a_usual_place_that_the_user_may_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PLACES, "vmlinux", ("VARIABLE", Path("closed/vmlinux")))  # type: ignore[arg-type]
    with as_nobody(), pytest.raises(UsageError, match=r"there is no closed/vmlinux \(VARIABLE\)"):
        find_kernel(["vmlinux"], None, {})


BOTH: tuple[KernelFormat, ...] = ("bzImage", "vmlinux")


@pytest.mark.parametrize(
    ("formats", "given", "environ", "expected"),
    [
        (BOTH, "k", {"FLEDGE_KERNEL_BZIMAGE": "b"}, "k"),
        (BOTH, None, {"FLEDGE_KERNEL_BZIMAGE": "b", "FLEDGE_KERNEL_VMLINUX": "v"}, "b"),
        (BOTH, None, {"FLEDGE_KERNEL_BZIMAGE": "", "FLEDGE_KERNEL_VMLINUX": "v"}, "v"),
        (("vmlinux",), None, {"FLEDGE_KERNEL_BZIMAGE": "b", "FLEDGE_KERNEL_VMLINUX": "v"}, "v"),
    ],
)
def test_where_the_kernel_is_looked_for(
    formats: tuple[KernelFormat, ...], given: str | None, environ: dict[str, str], expected: str
) -> None:
    assert find_kernel(formats, Path(given) if given else None, environ) == Path(expected)


def test_no_kernel_at_all() -> None:
    if Path("/var/lib/volant/kernel").exists():
        pytest.skip("this machine has Volant's kernels")
    with pytest.raises(
        UsageError, match=r"no kernel to boot: --kernel is not given, and there is no .*/bzImage \(FLEDGE"
    ):
        find_kernel(BOTH, None, {})
