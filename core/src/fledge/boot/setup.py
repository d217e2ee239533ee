"""What is booted and with what: artifact, VMM, kernel, modules, accelerator and ports, all settled before anything runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from fledge import drivers
from fledge.boot import kvm
from fledge.boot.features import lacking, needed, to_load
from fledge.boot.kernel import Kernel, find_kernel, read_kernel
from fledge.boot.machine import LOOPBACK, Accelerator, Forward
from fledge.boot.subject import Subject, open_subject
from fledge.errors import BuildError, UsageError

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.kernel_modules import Module
    from fledge.kinds import Vmm

VMMS: Final = ("qemu", "cloud-hypervisor", "firecracker")
"""The order in which they are looked for."""


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
    subject = open_subject(request.path)
    vmm = _choose_vmm(request.vmm, context)
    kernel = read_kernel(find_kernel(vmm.kernel_formats, request.kernel, context.environ), _modules(request, context))
    if kernel.format not in vmm.kernel_formats:
        allowed = " or ".join(vmm.kernel_formats)
        raise UsageError(f"{vmm.name} does not boot {kernel.path}, a {kernel.format}; it takes a {allowed}")
    forwards = _forwards(subject.manifest, vmm, context)
    modules = _needed_modules(subject, vmm, kernel, network=bool(forwards))
    return Setup(subject, vmm, kernel, modules, forwards, _choose_accelerator(request, vmm, kernel, context))


def _needed_modules(subject: Subject, vmm: Vmm, kernel: Kernel, *, network: bool) -> Sequence[Module]:
    """What the guest loads. Raises BuildError when the kernel lacks what the artifact needs."""
    features = needed(subject.features, subject.medium, writable=subject.writable, bus=vmm.bus, network=network)
    lack = lacking(kernel, features)
    if lack is not None:
        raise BuildError(
            f"{subject.name} can't boot: {lack}",
            hint="name another kernel with --kernel, or its modules with --modules",
        )
    return kernel.modules.closure(to_load(kernel, features)) if kernel.modules is not None else []


def _choose_vmm(name: str | None, context: BuildContext) -> Vmm:
    """The one that is named; else the first whose program is here, or the first at all for its error."""
    import platform
    import shutil

    installed = drivers.names("vmm")
    if name is None and not installed:
        raise UsageError("no VMM is installed", hint="try: pip install fledge-vmm-qemu")
    ordered = [one for one in VMMS if one in installed] + [one for one in installed if one not in VMMS]
    architecture = "arm64" if platform.machine() == "aarch64" else "amd64"
    candidates = [_load_vmm(one, context) for one in ([name] if name is not None else ordered)]
    for vmm in candidates:
        if shutil.which(vmm.program(architecture)) is not None:
            return vmm
    return candidates[0]


def _load_vmm(name: str, context: BuildContext) -> Vmm:
    driver = cast("type[Vmm]", drivers.load("vmm", name))
    return driver(name, driver.options_model(), context)


def _modules(request: Request, context: BuildContext) -> Path | None:
    named = context.environ.get("FLEDGE_KERNEL_MODULES")
    return request.modules or (Path(named) if named else None)


def _choose_accelerator(request: Request, vmm: Vmm, kernel: Kernel, context: BuildContext) -> Accelerator:
    import platform

    foreign = kernel.architecture != {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if request.accelerator == "tcg" and "tcg" not in vmm.accelerators:
        raise UsageError(f"{vmm.name} runs with KVM only", hint="--vmm qemu emulates a processor")
    if request.accelerator == "tcg":
        return "tcg"
    reason = f"its kernel is for {kernel.architecture}" if foreign else kvm.unusable()
    if reason is None:
        return "kvm"
    if request.accelerator == "kvm":
        raise BuildError(f"KVM can't run the guest: {reason}", hint="--accel tcg emulates a processor, slowly")
    if "tcg" not in vmm.accelerators:
        raise BuildError(
            f"{vmm.name} needs KVM, which can't run the guest: {reason}", hint="--vmm qemu emulates a processor"
        )
    context.progress.warning(f"KVM can't run the guest: {reason}; the processor is emulated, which is slower")
    return "tcg"


def _forwards(manifest: Mapping[str, Any], vmm: Vmm, context: BuildContext) -> tuple[Forward, ...]:
    """The manifest's exposed ports, each on its host_port where that is free and else on any that is."""
    from urllib.parse import urlsplit

    exposed = {
        (one["port"], one.get("protocol", "tcp")): one.get("host_port")
        for one in manifest.get("network", {}).get("expose", ())
    }
    base_url = manifest.get("workload", {}).get("base_url")
    if base_url is not None and (port := urlsplit(base_url).port) is not None:
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
