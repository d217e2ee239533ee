"""Finds a guest's kernel and understands it: its form, its release, its config, its modules."""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fledge.boot.features import KernelFeature, Presence
from fledge.errors import BuildError, UsageError
from fledge.kernel_modules import KernelModules

KernelFormat = Literal["bzImage", "vmlinux", "Image"]

# The variable and the place of spec section 8 for each form; arm64's Image stands where x86's bzImage does.
PLACES: Final[Mapping[KernelFormat, tuple[str, Path]]] = {
    "bzImage": ("FLEDGE_KERNEL_BZIMAGE", Path("/var/lib/volant/kernel/bzImage")),
    "Image": ("FLEDGE_KERNEL_BZIMAGE", Path("/var/lib/volant/kernel/bzImage")),
    "vmlinux": ("FLEDGE_KERNEL_VMLINUX", Path("/var/lib/volant/kernel/vmlinux")),
}

# Documentation/arch/x86/boot.rst: the setup header.
_SETUP_SECTORS: Final = 0x1F1
_SETUP_MAGIC: Final = (0x202, b"HdrS")
_VERSION_POINTER: Final = 0x20E
_XLOADFLAGS: Final = 0x236
_SYSSIZE: Final = 0x1F4
"""What follows the setup sectors, in units of 16 bytes."""
_PAYLOAD: Final = 0x248
_SECTOR: Final = 512
# Documentation/arch/arm64/booting.rst: the image header.
_ARM64_MAGIC: Final = (0x38, b"ARM\x64")
_MACHINES: Final = {62: "amd64", 183: "arm64"}
"""e_machine of elf(5)."""

_BANNER: Final = re.compile(rb"Linux version ([0-9][!-~]*) \(")
_CONFIG: Final = re.compile(rb"IKCFG_ST(\x1f\x8b.*?)IKCFG_ED", re.DOTALL)
_SETTING: Final = re.compile(r"CONFIG_(\w+)=(.*)")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel's file and what is known about it."""

    path: Path
    format: KernelFormat
    architecture: str
    """In Go's names: amd64, arm64."""
    release: str
    """`uname -r`: 6.1.0-13-cloud-amd64."""
    config: Mapping[str, str] | None
    """`VIRTIO_BLK` -> `m`; None: unknown."""
    modules: KernelModules | None

    @property
    def is_unknown(self) -> bool:
        """Neither its config nor its modules were found, so that nothing could be foreseen."""
        return self.config is None and self.modules is None

    def setting(self, feature: KernelFeature) -> str | None:
        """What the config says: `y`, `m`, another value, or None where it is unset or the config unknown."""
        return None if self.config is None else self.config.get(feature.symbol)

    def presence(self, feature: KernelFeature) -> Presence:
        """Whether the kernel has it, by its config and by its modules' lists."""
        modules, module = self.modules, feature.module
        loadable = modules is not None and module is not None and module in modules
        if self.config is not None:
            if self.setting(feature) == "m":
                return "module" if loadable else "missing"
            return "missing" if self.setting(feature) is None else "built in"
        if modules is None or module is None:
            return "unknown"
        if modules.is_builtin(module):
            return "built in"
        return "module" if loadable else "missing"


def find_kernel(
    formats: Sequence[KernelFormat], given: Path | None, environ: Mapping[str, str], *, option: str | None = "--kernel"
) -> Path:
    """The kernel: `given`, else the first of `formats` that the environment names or that stands in its usual place.

    `option`: what gives one on the command line, for the error. Raises UsageError when there is none.
    """
    if given is not None:
        return given
    tried = []
    places = dict.fromkeys(PLACES[one] for one in formats)
    for variable, place in places:
        if environ.get(variable):
            return Path(environ[variable])
        if os.path.exists(place):
            return place
        tried.append(f"{place} ({variable})")
    here = sorted(Path("/boot").glob("vmlinuz-*"))
    how = f"{option} " if option is not None else f"{next(iter(places))[0]}="
    raise UsageError(
        f"no kernel to boot: {f'{option} is not given, and ' if option else ''}there is no {' and no '.join(tried)}",
        hint=f"{how}{here[-1]}" if here else f"apt-get install linux-image-cloud-amd64, then {how}/boot/vmlinuz-...",
    )


def read_kernel(path: Path, modules: Path | None) -> Kernel:
    """Looks into the kernel's file, for its config beside it and in it, and for its modules.

    `modules`: its folder of modules; else /lib/modules/<release>, where that is. Raises UsageError when there is no such
    file, BuildError when it can't be read or is no kernel, and when a folder of modules that was named is none.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            form, architecture, release = _recognize(data, path)
            config = _config_beside(path, release) or _config_within(data, form)
    except FileNotFoundError:
        raise UsageError(f"there is no kernel {path}") from None
    except OSError as error:
        hint = "Debian and Ubuntu let only root read it" if isinstance(error, PermissionError) else None
        raise BuildError(f"can't read the kernel {path}: {error.strerror}", hint=hint) from error
    except ValueError:  # An empty file can't be mapped.
        raise BuildError(f"the kernel {path} is empty") from None
    return Kernel(path, form, architecture, release, config, _find_modules(modules, release))


def _recognize(data: mmap.mmap, path: Path) -> tuple[KernelFormat, str, str]:
    def has(mark: tuple[int, bytes]) -> bool:
        return data[mark[0] : mark[0] + len(mark[1])] == mark[1]

    if has(_SETUP_MAGIC):
        (paragraphs,) = struct.unpack_from("<I", data, _SYSSIZE)
        whole = _setup_size(data) + 16 * paragraphs
        if len(data) < whole - 15:
            raise BuildError(f"the kernel {path} is cut short: {len(data)} of {whole} bytes are there")
        (pointer,) = struct.unpack_from("<H", data, _VERSION_POINTER)
        text = data[pointer + _SECTOR : pointer + 2 * _SECTOR].partition(b"\0")[0] if pointer else b""
        words = text.decode("ascii", "replace").split()
        # XLF_KERNEL_64: it has the 64-bit entry point.
        return "bzImage", "amd64" if data[_XLOADFLAGS] & 1 else "386", words[0] if words else "unknown release"
    if has((0, b"\x7fELF")) and len(data) >= 20:
        (machine,) = struct.unpack_from("<H", data, 18)
        return "vmlinux", _MACHINES.get(machine, f"machine {machine}"), _banner(data, path)
    if has(_ARM64_MAGIC):
        return "Image", "arm64", _banner(data, path)
    raise BuildError(
        f"{path} is no kernel: it is neither a bzImage nor a vmlinux nor an Image (it begins with {data[:8]!r})"
    )


def _setup_size(data: mmap.mmap) -> int:
    """Bytes, with the boot sector."""
    return ((data[_SETUP_SECTORS] or 4) + 1) * _SECTOR


def _banner(data: mmap.mmap, path: Path) -> str:
    match = _BANNER.search(data)
    if match is None:
        raise BuildError(f"{path} is no kernel: 'Linux version' is nowhere in it")
    return match[1].decode("ascii")


def _config_beside(path: Path, release: str) -> Mapping[str, str] | None:
    try:
        return parse_config((path.parent / f"config-{release}").read_text("utf-8", "replace"))
    except OSError:
        return None


def _config_within(data: mmap.mmap, form: KernelFormat) -> Mapping[str, str] | None:
    """The config that CONFIG_IKCONFIG keeps in the kernel (kernel/configs.c)."""
    import zlib

    image = _unpacked(data) if form == "bzImage" else data
    match = _CONFIG.search(image) if image is not None else None
    if match is None:
        return None
    try:
        return parse_config(zlib.decompress(match[1], wbits=31).decode("utf-8", "replace"))
    except zlib.error:
        return None


def _unpacked(data: mmap.mmap) -> bytes | None:
    """The kernel proper inside a bzImage; None when it is compressed with what Python doesn't have (lz4, lzo)."""
    start, length = struct.unpack_from("<II", data, _PAYLOAD)
    begin = _setup_size(data) + start
    payload = data[begin : begin + length]
    # What follows the compressed bytes is their size, which the decompressors pass over.
    if payload.startswith(b"\x1f\x8b"):
        import zlib

        try:
            return zlib.decompressobj(wbits=31).decompress(payload)
        except zlib.error:
            return None
    if payload.startswith(b"\xfd7zXZ"):
        import lzma

        try:
            return lzma.LZMADecompressor().decompress(payload)
        except lzma.LZMAError:
            return None
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        try:
            return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj().decompress(payload)
        except zstandard.ZstdError:
            return None
    return None


def parse_config(text: str) -> Mapping[str, str]:
    """`CONFIG_VIRTIO_BLK=m` -> `VIRTIO_BLK`: `m`; what is not set is not there."""
    return {match[1]: match[2] for match in map(_SETTING.fullmatch, text.splitlines()) if match}


def _find_modules(given: Path | None, release: str) -> KernelModules | None:
    if given is None:
        usual = Path("/lib/modules") / release
        return KernelModules(usual) if os.path.isfile(usual / "modules.dep") else None
    # `make INSTALL_MOD_PATH=DIR modules_install` makes DIR/lib/modules/RELEASE.
    for folder in (given / release, given / "lib" / "modules" / release):
        if os.path.isfile(folder / "modules.dep"):
            return KernelModules(folder)
    return KernelModules(given)
