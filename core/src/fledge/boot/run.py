"""The boot, top to bottom: settled, described as a machine, run, watched, and ended."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from fledge import tools
from fledge.boot import initramfs
from fledge.boot.console import Closed, Console, Exited, Panicked
from fledge.boot.hardware import CONSOLES
from fledge.boot.machine import Disk, HandedFiles, Machine
from fledge.boot.readiness import Outcome, health_check, wait
from fledge.boot.setup import Request, Setup, settle
from fledge.errors import BuildError
from fledge.manifest import DEFAULT_RESOURCES

if TYPE_CHECKING:
    from fledge.context import BuildContext

COMMAND_LINE_MAX: Final = 2047
"""Bytes that a kernel takes, on x86 and arm64 (COMMAND_LINE_SIZE)."""

_LAST_MOMENT: Final = 0.5
"""Seconds between the end of the console and that of the VMM."""


@dataclass(frozen=True, slots=True)
class Report:
    """The guest came up."""

    setup: Setup
    outcome: Outcome


def boot(request: Request, context: BuildContext, console: Console) -> Report:
    """Boots and waits until the guest is up, then ends the machine. The artifact stays as it is.

    Raises UsageError when something to boot with is missing, and BuildError, with the console's tail, when the guest
    did not come up.
    """
    setup = settle(request, context)
    with HandedFiles() as files:
        machine = describe(request, setup, files, context)
        argv = setup.vmm.command(machine, files)
        return Report(setup, _run(argv, machine, setup, request, files, context, console))


def describe(request: Request, setup: Setup, files: HandedFiles, context: BuildContext) -> Machine:
    """The machine, for the VMM."""
    subject, modules = setup.subject, setup.modules
    architecture = setup.kernel.architecture
    disks: tuple[Disk, ...] = ()
    if subject.medium == "initramfs":
        extra = initramfs.beside_initramfs(modules, subject.modules, subject.workload)
        archive = files.join("initramfs", subject.artifact, extra) if extra else subject.artifact
    else:
        archive = files.add("initramfs", initramfs.for_disk(architecture, modules, subject.workload))
        copied = subject.writable and not setup.vmm.discards_writes
        image = files.copy(subject.artifact) if copied else subject.artifact
        disks = (Disk(image, read_only=not subject.writable),)
    resources = {**DEFAULT_RESOURCES, **subject.manifest.get("resources", {})}
    return Machine(
        architecture=architecture,
        kernel=setup.kernel.path,
        initramfs=archive,
        disks=disks,
        cpus=request.cpus or resources["cpu_cores"],
        memory_mb=request.memory_mb or resources["memory_mb"],
        command_line=_command_line(setup, context),
        forwards=setup.forwards,
        accelerator=setup.accelerator,
        attached=request.attached,
    )


def _command_line(setup: Setup, context: BuildContext) -> str:
    subject = setup.subject
    # A kernel that panicked says so and resets the machine, at which most VMMs end; it must not hang.
    words = [f"console={CONSOLES.get(setup.kernel.architecture, 'ttyS0')}", "panic=-1"]
    if subject.medium == "disk":
        words += ["root=/dev/vda", f"rootfstype={subject.format}"]
    if setup.forwards and setup.vmm.guest_network is not None:
        words.append(f"fledge.ip={setup.vmm.guest_network}")
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


def _run(
    argv: Sequence[str],
    machine: Machine,
    setup: Setup,
    request: Request,
    files: HandedFiles,
    context: BuildContext,
    console: Console,
) -> Outcome:
    subject, vmm = setup.subject, setup.vmm
    console.silent = subject.silent
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
            if request.attached and not _is_ending(process):
                context.progress.warning(error.message)
                process.wait()
            raise _explained(error, console, process, setup, request) from None
        if request.attached:
            process.wait()
            outcome = replace(outcome, exited=_last_exit(console) or outcome.exited)
    return outcome


def _is_ending(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LAST_MOMENT)
    except subprocess.TimeoutExpired:
        return False
    return True


def _last_exit(console: Console) -> Exited | None:
    """How the workload ended while the user watched. Raises BuildError for a kernel that panicked then."""
    exited = None
    while (event := console.next(_LAST_MOMENT)) is not None and not isinstance(event, Closed):
        match event:
            case Exited():
                exited = event
            case Panicked(text):
                raise BuildError(f"the guest's kernel panicked: {text}")
    return exited


def _expect_service(outcome: Outcome, manifest: Mapping[str, Any]) -> None:
    kind = manifest.get("workload", {}).get("type", "exec")
    if outcome.exited is not None and kind != "exec":
        raise BuildError(f"the workload, a service of type {kind}, {outcome.exited}")


def _explained(
    error: BuildError, console: Console, process: subprocess.Popen[bytes], setup: Setup, request: Request
) -> BuildError:
    """The error with what was said before it; a VMM that says why it ended is right."""
    tail = console.tail()  # Before a panic's stack trace pushes out what led to it.
    ended = _is_ending(process)
    if not ended:
        process.kill()
    code = process.returncode if ended else 0
    said = console.errors()
    if code != 0 and said:
        return BuildError(f"the VMM ended with exit code {code}: {said[-1]}", transcript=[*tail, *said])
    if code < 0:
        return BuildError(f"the VMM was killed by signal {-code}", transcript=tail)
    hints = [error.hint] if error.hint is not None else []
    if ended and not tail:
        hints.append("the kernel said nothing: it may be damaged, or need more memory (--memory)")
    elif setup.kernel.is_unknown:
        hints.append(f"if Linux {setup.kernel.release} needs modules, name their folder with --modules")
    if hints and setup.accelerator == "kvm" and request.accelerator == "auto":
        hints.append("--accel tcg if KVM is to blame")
    return BuildError(error.message, hint="; ".join(hints) or None, transcript=() if request.attached else tail)
