"""The boot, top to bottom: what, with which VMM and kernel, described as a machine, run, watched, and ended."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from fledge import drivers, tools
from fledge.boot import initramfs, kvm
from fledge.boot.features import lacking, needed, to_load
from fledge.boot.kernel import Kernel, find_kernel, read_kernel
from fledge.boot.machine import LOOPBACK, Accelerator, Disk, Forward, HandedFiles, Machine
from fledge.boot.readiness import Outcome, health_check, wait
from fledge.boot.subject import Subject, open_subject
from fledge.errors import BuildError, UsageError

if TYPE_CHECKING:
    from fledge.boot.console import Console
    from fledge.context import BuildContext
    from fledge.kernel_modules import Module
    from fledge.kinds import Vmm

VMMS: Final = ("qemu", "cloud-hypervisor", "firecracker")
"""The order in which they are looked for."""
RESOURCES: Final[Mapping[str, int]] = {"cpu_cores": 2, "memory_mb": 2048}
COMMAND_LINE_MAX: Final = 2047
"""Bytes that a kernel takes, on x86 and arm64 (COMMAND_LINE_SIZE)."""

_CONSOLES: Final = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


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
class Report:
    """The guest came up."""

    vmm: str
    accelerator: Accelerator
    kernel: Kernel
    forwards: tuple[Forward, ...]
    outcome: Outcome


def boot(request: Request, context: BuildContext, console: Console | None = None) -> Report:
    """Boots and waits until the guest is up, then ends the machine. The artifact stays as it is.

    Raises UsageError when something to boot with is missing, and BuildError, with the console's tail, when the guest
    did not come up.
    """
    subject = open_subject(request.path)
    vmm = _choose_vmm(request.vmm, context)
    kernel = read_kernel(find_kernel(vmm.kernel_formats, request.kernel, context.environ), _modules(request, context))
    if kernel.format not in vmm.kernel_formats:
        allowed = " or ".join(vmm.kernel_formats)
        raise UsageError(f"{vmm.name} does not boot {kernel.path}, a {kernel.format}; it takes a {allowed}")
    forwards = _forwards(subject.manifest, vmm, context)
    modules = _needed_modules(subject, vmm, kernel, network=bool(forwards))
    accelerator = _choose_accelerator(request, vmm, kernel, context)
    with HandedFiles() as files:
        machine = describe(request, subject, vmm, kernel, modules, accelerator, forwards, files, context)
        outcome = _run(machine, vmm, subject, request, files, context, console)
    return Report(vmm.name, accelerator, kernel, forwards, outcome)


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


def describe(
    request: Request,
    subject: Subject,
    vmm: Vmm,
    kernel: Kernel,
    modules: Sequence[Module],
    accelerator: Accelerator,
    forwards: tuple[Forward, ...],
    files: HandedFiles,
    context: BuildContext,
) -> Machine:
    """The machine, for the VMM."""
    disks: tuple[Disk, ...] = ()
    if subject.medium == "initramfs":
        extra = initramfs.beside_initramfs(modules, subject.modules, subject.workload)
        archive = files.join("initramfs", subject.artifact, extra) if extra else subject.artifact
    else:
        archive = files.add("initramfs", initramfs.for_disk(kernel.architecture, modules, subject.workload))
        copied = subject.writable and not vmm.discards_writes
        image = files.copy(subject.artifact) if copied else subject.artifact
        disks = (Disk(image, read_only=not subject.writable),)
    resources = {**RESOURCES, **subject.manifest.get("resources", {})}
    return Machine(
        architecture=kernel.architecture,
        kernel=kernel.path,
        initramfs=archive,
        disks=disks,
        cpus=request.cpus or resources["cpu_cores"],
        memory_mb=request.memory_mb or resources["memory_mb"],
        command_line=_command_line(subject, kernel, vmm, forwards, context),
        forwards=forwards,
        accelerator=accelerator,
        attached=request.attached,
    )


def _command_line(
    subject: Subject, kernel: Kernel, vmm: Vmm, forwards: tuple[Forward, ...], context: BuildContext
) -> str:
    # A kernel that panicked says so and resets the machine, at which most VMMs end; it must not hang.
    words = [f"console={_CONSOLES.get(kernel.architecture, 'ttyS0')}", "panic=-1"]
    if subject.medium == "disk":
        words += ["root=/dev/vda", f"rootfstype={subject.format}"]
    if forwards and vmm.guest_network is not None:
        words.append(f"fledge.ip={vmm.guest_network}")
    if subject.agent and subject.manifest:
        told = f"volant.manifest={encode_manifest(subject.manifest)}"
        if len(" ".join([*words, told])) <= COMMAND_LINE_MAX:
            words.append(told)
        else:
            context.progress.warning(
                f"the agent does not get the manifest: the kernel's command line holds {COMMAND_LINE_MAX} bytes"
            )
    return " ".join(words)


def encode_manifest(manifest: Mapping[str, Any]) -> str:
    """The manifest as Volant passes it to its agent: JSON, gzip, base64url without padding."""
    import gzip

    data = gzip.compress(json.dumps(manifest, separators=(",", ":")).encode(), mtime=0)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


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


def _run(
    machine: Machine,
    vmm: Vmm,
    subject: Subject,
    request: Request,
    files: HandedFiles,
    context: BuildContext,
    console: Console | None,
) -> Outcome:
    from fledge.boot.console import Console

    console = console or Console()
    console.silent = subject.silent
    argv = vmm.command(machine, files)
    for forward in machine.forwards:
        context.progress.info(f"forwarding {forward}")
    check = health_check(subject.manifest, machine.forwards)
    stdin = None if request.attached else subprocess.DEVNULL
    with (
        context.progress.stage(f"booting {subject.name} with {vmm.name} ({machine.accelerator})"),
        tools.running(argv, context.progress, stdin=stdin, pass_fds=files.fds, package=vmm.package) as process,
    ):
        began = time.monotonic()
        console.follow(process)
        try:
            outcome = wait(console, check, began, request.timeout)
            _expect_service(outcome, subject.manifest)
        except BuildError as error:
            if request.attached and process.poll() is None:
                context.progress.warning(error.message)
                process.wait()
            raise _explained(error, console, process, machine, request) from None
        if request.attached:
            process.wait()
    return outcome


def _expect_service(outcome: Outcome, manifest: Mapping[str, Any]) -> None:
    kind = manifest.get("workload", {}).get("type", "exec")
    if outcome.exited is not None and kind != "exec":
        raise BuildError(f"the workload, a service of type {kind}, {outcome.exited}")


def _explained(
    error: BuildError, console: Console, process: subprocess.Popen[bytes], machine: Machine, request: Request
) -> BuildError:
    """The error with what was said before it; a VMM that says why it ended is right."""
    code = process.poll()
    process.kill()
    said: Sequence[str] = console.errors()
    hint = error.hint
    if code is None and machine.accelerator == "kvm" and request.accelerator == "auto":
        hint = "--accel tcg if KVM is to blame, --timeout for more patience"
    elif code is None:
        hint = "--timeout for more patience"
    if code not in (None, 0) and said:
        return BuildError(f"the VMM ended with exit code {code}: {said[-1]}", transcript=[*console.tail(), *said])
    return BuildError(error.message, hint=hint, transcript=() if machine.attached else console.tail())
