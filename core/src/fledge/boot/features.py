"""What a guest's kernel must have, and whether one has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fledge.boot.kernel import Kernel

Presence = Literal["built in", "module", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class KernelFeature:
    """Something that a kernel may have been built without."""

    symbol: str
    """Of Kconfig, without `CONFIG_`: `SQUASHFS_ZSTD`."""
    what: str
    """For people: `squashfs`, `zstd in squashfs`."""
    module: str | None = None
    """The module's name; None for what is in the kernel or in another feature's module."""


INITRAMFS: Final = KernelFeature("BLK_DEV_INITRD", "initramfs")
DEVTMPFS: Final = KernelFeature("DEVTMPFS", "devtmpfs")
TMPFS: Final = KernelFeature("TMPFS", "tmpfs")
OVERLAY: Final = KernelFeature("OVERLAY_FS", "overlayfs", "overlay")
VIRTIO_PCI: Final = KernelFeature("VIRTIO_PCI", "virtio over PCI", "virtio_pci")
VIRTIO_MMIO: Final = KernelFeature("VIRTIO_MMIO", "virtio over MMIO", "virtio_mmio")
VIRTIO_BLK: Final = KernelFeature("VIRTIO_BLK", "virtio disks", "virtio_blk")
VIRTIO_CONSOLE: Final = KernelFeature("VIRTIO_CONSOLE", "virtio ports", "virtio_console")
VIRTIO_NET: Final = KernelFeature("VIRTIO_NET", "virtio network cards", "virtio_net")


def needed(
    reads: Iterable[KernelFeature], medium: Literal["disk", "initramfs"], *, writable: bool, bus: str, network: bool
) -> list[KernelFeature]:
    """What a kernel must have for an artifact. `reads`: what its filesystem takes. `bus`: `pci` or `mmio`."""
    virtio = VIRTIO_MMIO if bus == "mmio" else VIRTIO_PCI
    features = [INITRAMFS, DEVTMPFS, *reads]
    if medium == "disk":
        features += [virtio, VIRTIO_BLK]
        if not writable:
            features += [TMPFS, OVERLAY]
    if network:
        features += [virtio, VIRTIO_NET]
    return list(dict.fromkeys(features))


def lacking(kernel: Kernel, features: Iterable[KernelFeature]) -> str | None:
    """One line that names every feature that `kernel` lacks; None when none is known to be missing."""
    absent: list[str] = []
    unloadable: list[str] = []
    for feature in features:
        if kernel.presence(feature) == "missing":
            named = f"{feature.what} (CONFIG_{feature.symbol})"
            (unloadable if kernel.setting(feature) == "m" else absent).append(named)
    told = []
    if absent:
        told.append(f"has no {', '.join(absent)}")
    if unloadable:
        where = f"none in {kernel.modules.folder}" if kernel.modules else "no folder of modules was found"
        told.append(f"has {', '.join(unloadable)} only as a module, and {where}")
    return f"the kernel {kernel.path} ({kernel.release}) {' and '.join(told)}" if told else None


def to_load(kernel: Kernel, features: Iterable[KernelFeature]) -> Sequence[str]:
    """The names of the modules that give `kernel` the features."""
    return [one.module for one in features if one.module is not None and kernel.presence(one) == "module"]
