"""What is booted and with what: artifact, VMM, kernel, modules, accelerator and ports, all settled before anything runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fledge.boot import hardware
from fledge.boot.features import needed
from fledge.boot.kernel import Kernel
from fledge.boot.machine import LOOPBACK, Accelerator, Forward
from fledge.boot.subject import Subject, open_subject
from fledge.errors import BuildError

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.kernel_modules import Module
    from fledge.kinds import Vmm


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for; None: nothing, so that the manifest or the environment decides."""

    path: Path
    vmm: str | None = None
    kernel: Path | None = None
    modules: Path | None = None
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    timeout: float = 60.0
    """Seconds."""
    memory_mb: int | None = None
    cpus: int | None = None
    attached: bool = False
    """The user's terminal is the console, and the machine runs until it ends by itself."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that a boot needs."""

    subject: Subject
    vmm: Vmm
    kernel: Kernel
    modules: Sequence[Module]
    """What the guest loads, in this order."""
    forwards: tuple[Forward, ...]
    accelerator: Accelerator


def settle(request: Request, context: BuildContext) -> Setup:
    """Raises UsageError when something to boot with is missing, BuildError when it can't boot the artifact."""
    subject = open_subject(request.path, context.progress.warning)
    vmm = hardware.choose_vmm(request.vmm, context)
    kernel = hardware.choose_kernel(vmm, request.kernel, request.modules, context)
    _check_architecture(subject, kernel)
    forwards = _forwards(subject.manifest, vmm, context)
    features = needed(subject.features, subject.medium, writable=subject.writable, bus=vmm.bus, network=bool(forwards))
    hint = "name another kernel with --kernel, or its modules with --modules"
    modules = hardware.choose_modules(kernel, features, f"{subject.name} can't boot", hint)
    accelerator = hardware.choose_accelerator(request.accelerator, vmm, kernel, context)
    hardware.check_installed(vmm, kernel.architecture)
    return Setup(subject, vmm, kernel, modules, forwards, accelerator)


def _check_architecture(subject: Subject, kernel: Kernel) -> None:
    if subject.architecture not in (None, kernel.architecture):
        raise BuildError(
            f"{subject.name} can't boot: its init is for {subject.architecture}, and the kernel {kernel.path} is for "
            f"{kernel.architecture}",
            hint="name a kernel of that architecture with --kernel, or build with --platform for this one",
        )


def _forwards(manifest: Mapping[str, Any], vmm: Vmm, context: BuildContext) -> tuple[Forward, ...]:
    """The manifest's exposed ports, each on its host_port where that is free and else on any that is."""
    from urllib.parse import urlsplit

    exposed = {
        (one["port"], one.get("protocol", "tcp")): one.get("host_port")
        for one in manifest.get("network", {}).get("expose", ())
    }
    base_url = manifest.get("workload", {}).get("base_url", "")
    try:
        port = urlsplit(base_url).port
    except ValueError as error:
        raise BuildError(f"the manifest's workload.base_url {base_url!r} is not a URL: {error}") from error
    if port is not None:
        exposed.setdefault((port, "tcp"), None)
    if exposed and vmm.guest_network is None:
        ports = ", ".join(f"{port}/{protocol}" for port, protocol in exposed)
        context.progress.warning(
            f"{vmm.name} has no network of its own: {ports} can't be reached, and the guest is up when its workload runs"
        )
        return ()
    return tuple(
        Forward(_host_port(wanted, protocol, context), port, protocol) for (port, protocol), wanted in exposed.items()
    )


def _host_port(wanted: int | None, protocol: Literal["tcp", "udp"], context: BuildContext) -> int:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    for port in (wanted, 0) if wanted else (0,):
        with socket.socket(socket.AF_INET, kind) as sock:
            if port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((LOOPBACK, port))
            except OSError as error:
                context.progress.warning(
                    f"host_port {port} of the manifest can't be used: {error.strerror}; another one is"
                )
                continue
            found: int = sock.getsockname()[1]
            return found
    raise BuildError(f"no {protocol} port is free on {LOOPBACK}")
