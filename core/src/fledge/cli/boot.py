"""`fledge boot`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fledge.cli.terminal import Terminal
from fledge.errors import BuildError, UsageError

if TYPE_CHECKING:
    from fledge.boot.run import Report


@click.command("boot")
@click.argument("what", type=click.Path(path_type=Path), metavar="ARTIFACT|MANIFEST")
@click.option("--vmm", metavar="NAME", help="qemu, cloud-hypervisor or firecracker.  [default: the first installed]")
@click.option(
    "--kernel", type=click.Path(path_type=Path), help="The guest's kernel.  [default: $FLEDGE_KERNEL_BZIMAGE]"
)
@click.option(
    "--modules", type=click.Path(path_type=Path), help="The kernel's modules.  [default: /lib/modules/RELEASE]"
)
@click.option(
    "--accel", type=click.Choice(["auto", "kvm", "tcg"]), help="KVM, or an emulated processor.  [default: auto]"
)
@click.option("--timeout", type=click.FloatRange(min=1), default=60, show_default=True, help="Seconds to come up.")
@click.option("--memory", type=click.IntRange(min=16), metavar="MIB", help="[default: the manifest's, else 2048]")
@click.option("--cpus", type=click.IntRange(min=1), metavar="N", help="[default: the manifest's, else 2]")
@click.option("--console", "attached", is_flag=True, help="Attach to the guest's console until the guest ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(
    terminal: Terminal,
    what: Path,
    vmm: str | None,
    kernel: Path | None,
    modules: Path | None,
    accel: str | None,
    timeout: float,
    memory: int | None,
    cpus: int | None,
    attached: bool,
    as_json: bool,
) -> None:
    """Boots ARTIFACT, or that of MANIFEST, in a virtual machine, and tells whether it came up.

    Up is: the health check answers (http), or the workload runs. Then the machine is switched off. The artifact is not
    changed.
    """
    from fledge.boot.console import Console
    from fledge.boot.hardware import wanted_accelerator
    from fledge.boot.run import boot
    from fledge.boot.setup import Request
    from fledge.context import BuildContext
    from fledge.store import Store, default_folder

    accelerator = wanted_accelerator(accel or os.environ.get("FLEDGE_ACCEL"))
    if attached and as_json:
        raise UsageError("--console and --json exclude each other: both use stdout")
    console = Console(_echo if attached else None)
    request = Request(what, vmm, kernel, modules, accelerator, timeout, memory, cpus, attached)
    context = BuildContext(Store(default_folder(os.environ)), terminal.progress(live=not attached))
    with _attached(terminal) if attached else nullcontext():
        if not attached:
            terminal.on_interrupt = console.tail
        report = boot(request, context, console)
    terminal.close()
    if as_json:
        click.echo(json.dumps(_facts(report), indent=2))
    else:
        click.echo(_line(report))
    exited = report.outcome.exited
    if exited is not None and exited.status != 0:
        raise BuildError(f"the workload {exited}", transcript=() if attached else console.tail())


@contextmanager
def _attached(terminal: Terminal) -> Iterator[None]:
    """Puts the user's terminal back: the VMM makes it raw, and does not tidy up when it is killed."""
    if not sys.stdin.isatty():
        yield
        return
    import termios

    saved = termios.tcgetattr(sys.stdin)

    def restore() -> Sequence[str]:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, saved)
        return ()

    terminal.on_interrupt = restore
    try:
        yield
    finally:
        restore()


def _echo(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _line(report: Report) -> str:
    outcome = report.outcome
    told = f"up in {outcome.seconds:.2f} s ({report.setup.vmm.name}, {report.setup.accelerator}, Linux {report.setup.kernel.release})"
    ended = f"the workload {outcome.exited}" if outcome.exited is not None else None
    if outcome.answer is not None:
        return f"{told}: {outcome.answer}{f', then {ended}' if ended else ''}"
    return f"{told}: {ended or f'{outcome.runs} runs'}"


def _facts(report: Report) -> dict[str, Any]:
    exited = report.outcome.exited
    return {
        "seconds": round(report.outcome.seconds, 3),
        "vmm": report.setup.vmm.name,
        "accelerator": report.setup.accelerator,
        "kernel": {"path": str(report.setup.kernel.path), "release": report.setup.kernel.release},
        "forwards": [
            {"host_port": one.host_port, "port": one.guest_port, "protocol": one.protocol}
            for one in report.setup.forwards
        ],
        "answer": report.outcome.answer,
        "exit_status": exited.status if exited is not None else None,
        "signal": exited.signal if exited is not None else None,
    }
