"""The archive that goes before an artifact: the guest init, the modules that it loads, and what it is to do.

The kernel unpacks it into memory and starts its /init, which loads the modules, mounts the artifact and switches to
it. Beside an initramfs artifact it holds the modules alone: the kernel unpacks one archive after the other
(Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, cast

from fledge_guest import (
    INITRAMFS_INIT_PATH,
    MODULES_PATH,
    ROOT_WORKLOAD_PATH,
    STEP_PATH,
    WORKLOAD_PATH,
    Architecture,
    Step,
    Workload,
    init_binary,
    render_modules,
)

from fledge.errors import BuildError
from fledge.kernel_modules import Module

NO_OWNERS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType({})
_FOLDER: Final = "/.fledge/boot-modules"


def for_disk(architecture: str, modules: Sequence[Module], workload: Workload | None) -> bytes:
    """The initramfs that boots a disk. `workload`: what runs there in place of the disk's own description."""
    files = {INITRAMFS_INIT_PATH: (0o755, _init(architecture))}
    if workload is not None:
        files[ROOT_WORKLOAD_PATH] = (0o644, workload.render())
    return archive({**files, **_modules(modules, b"")})


def for_step(
    architecture: str,
    modules: Sequence[Module],
    step: Step,
    files: Mapping[str, tuple[int, bytes]],
    owners: Mapping[str, tuple[int, int]],
) -> bytes:
    """The initramfs that runs one step of a build on a disk. `files`: what else it is to hold; `owners`: as for `archive`."""
    own = {INITRAMFS_INIT_PATH: (0o755, _init(architecture)), STEP_PATH: (0o644, step.render())}
    return archive({**own, **_modules(modules, b""), **files}, owners)


def _init(architecture: str) -> bytes:
    try:
        return init_binary(cast("Architecture", architecture))
    except ValueError as error:
        raise BuildError(str(error)) from error


def beside_initramfs(modules: Sequence[Module], listed: bytes, workload: Workload | None) -> bytes:
    """What is appended to an initramfs artifact; empty when it needs nothing.

    `listed`: what the artifact's own list of modules holds; those are loaded after ours.
    """
    files = _modules(modules, listed)
    if workload is not None:
        files[WORKLOAD_PATH] = (0o644, workload.render())
    return archive(files) if files else b""


def _modules(modules: Sequence[Module], listed: bytes) -> dict[str, tuple[int, bytes]]:
    if not modules:
        return {}
    paths = {f"{_FOLDER}/{module.name}.ko": module for module in modules}
    files = {path: (0o644, module.read()) for path, module in paths.items()}
    files[MODULES_PATH] = (0o644, render_modules(paths) + listed)
    return files


def archive(files: Mapping[str, tuple[int, bytes]], owners: Mapping[str, tuple[int, int]] = NO_OWNERS) -> bytes:
    """A newc archive of regular files, by absolute path, each with its mode; their folders and /dev/console are made.

    `owners`: uid and gid of those that are not root's.
    The kernel opens /dev/console for the init before anything is mounted; without the node the init starts without a
    console.
    """
    folders = {path[:at] for path in (*files, "/dev/console") for at, char in enumerate(path) if char == "/" and at}
    entries = [(folder, stat.S_IFDIR | 0o755, b"", (0, 0)) for folder in folders]
    entries += [(path, stat.S_IFREG | mode, data, (0, 0)) for path, (mode, data) in files.items()]
    entries.append(("/dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    parts = [_entry(number, *one, owners.get(one[0], (0, 0))) for number, one in enumerate(sorted(entries), start=1)]
    return b"".join((*parts, _entry(0, "/TRAILER!!!", 0, b"", (0, 0), (0, 0))))


def _entry(ino: int, path: str, mode: int, data: bytes, device: tuple[int, int], owner: tuple[int, int]) -> bytes:
    name = path[1:].encode() + b"\0"
    # magic, ino, mode, uid, gid, nlink, mtime, filesize, dev 0:0, rdev, namesize, check
    head = b"070701" + b"%08X" * 13 % (ino, mode, *owner, 1, 0, len(data), 0, 0, *device, len(name), 0) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
