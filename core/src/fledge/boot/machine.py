"""A virtual machine, described for whichever VMM runs it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from fledge.errors import BuildError

LOOPBACK: Final = "127.0.0.1"
"""Where forwarded ports listen on the host, and nowhere else."""

Accelerator = Literal["kvm", "tcg"]


@dataclass(frozen=True, slots=True)
class Disk:
    """A virtio disk with a raw image; the first is /dev/vda in the guest."""

    path: Path
    read_only: bool
    """Otherwise what the guest writes is thrown away, by the VMM or because `path` is a copy."""
    kept: bool = False
    """What the guest writes goes to `path`, though not past a crash of the host."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the guest that can be reached on the host's loopback."""

    host_port: int
    guest_port: int
    protocol: Literal["tcp", "udp"] = "tcp"

    def __str__(self) -> str:
        return f"{LOOPBACK}:{self.host_port} -> {self.guest_port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Machine:
    """All that a VMM is told. The first serial port is the console, on the VMM's stdin and stdout."""

    architecture: str
    """In Go's names: amd64, arm64."""
    kernel: Path
    initramfs: Path | None
    disks: tuple[Disk, ...]
    cpus: int
    memory_mb: int
    """MiB."""
    command_line: str
    forwards: tuple[Forward, ...] = ()
    """When there are any the machine has a network card."""
    network: bool = False
    """The machine has a network card, with or without forwards."""
    output: Path | None = None
    """A pipe that takes what the guest writes to Vmm.output_device; None: there is no such device."""
    accelerator: Accelerator = "kvm"
    attached: bool = False
    """A person sits at the console: keys that end the VMM are welcome."""


class HandedFiles:
    """Files that only this process and the VMM see: memory, and unnamed files on disk. A kill leaves nothing behind."""

    def __init__(self) -> None:
        self.fds: list[int] = []
        """What the VMM inherits."""

    def add(self, name: str, data: bytes) -> Path:
        """A file of `data` in memory. `name`: for who looks at the process."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        self.fds.append(fd)
        _write(fd, data)
        return self.path(fd)

    def join(self, name: str, first: Path, second: bytes) -> Path:
        """A file in memory of `first`'s content, zeros up to a multiple of 4 bytes, and `second`."""
        try:
            data = first.read_bytes()
        except OSError as error:
            raise BuildError(f"can't read {first}: {error.strerror}") from error
        return self.add(name, data + bytes(-len(data) % 4) + second)

    def copy(self, source: Path) -> Path:
        """A sparse copy in an unnamed file where temporary files go. Raises BuildError when it can't be made."""
        import tempfile

        try:
            fd = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self.fds.append(fd)
            with open(source, "rb") as file:
                _copy_sparse(file.fileno(), fd)
        except OSError as error:
            raise BuildError(f"can't copy {source} to {tempfile.gettempdir()}: {error.strerror}") from error
        return self.path(fd)

    @staticmethod
    def path(fd: int) -> Path:
        """What opens the file of a descriptor, in the VMM too."""
        return Path(f"/proc/self/fd/{fd}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.fds:
            os.close(self.fds.pop())


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _copy_sparse(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            begin = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # Nothing but a hole is left.
                return
            raise
        at = end = os.lseek(source, begin, os.SEEK_HOLE)
        os.lseek(target, begin, os.SEEK_SET)
        while begin < end:
            begin += os.sendfile(target, source, begin, end - begin)
