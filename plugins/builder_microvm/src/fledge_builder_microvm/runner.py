"""Runs RUN steps, each in a microVM of its own that boots with the tree as its root."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from fledge.errors import BuildError, FledgeError
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import Platform

from fledge_builder_microvm.changes import Change
from fledge_builder_microvm.steps import RunStep

if TYPE_CHECKING:
    from fledge.boot.console import Console
    from fledge.context import BuildContext
    from fledge_guest import Step

    from fledge_builder_microvm.run_machine import Hardware
    from fledge_builder_microvm.run_surroundings import Surroundings

_SCRATCH: Final = "/dev/vdb"
_MIB: Final = 1 << 20
_STATUS: Final = re.compile(rb"(exited|killed) ([0-9]{1,3})\n")
_STATUS_SIZE: Final = 16


class MicrovmRunner:
    """See steps.Runner."""

    def __init__(self, context: BuildContext, platform: Platform, tell: Callable[[str], None] | None = None) -> None:
        """`tell`: gets each line that a step prints as it comes, from another thread; None: the log does."""
        self._context = context
        self._platform = platform
        self._tell = tell or context.progress.info
        self._hardware: Hardware | None = None

    def obstacle(self) -> str | None:
        """See steps.Runner.obstacle."""
        from fledge.boot import hardware

        from fledge_builder_microvm.run_machine import Resources, find_vmm_and_kernel

        host = hardware.host_architecture()
        if (self._platform.os, self._platform.architecture) != ("linux", host):
            return f"RUN for {self._platform} does not run on this {host} host"
        try:
            find_vmm_and_kernel(self._context)
            Resources.of(self._context.environ)
        except FledgeError as error:
            return f"RUN needs a machine: {error.message}" + (f" ({error.hint})" if error.hint else "")
        return None

    def run(self, step: RunStep, root: Tree) -> Iterable[Change]:
        """See steps.Runner.run."""
        from fledge.boot import initramfs
        from fledge_fs_ext4.driver import Ext4

        from fledge_builder_microvm.run_disks import Disks
        from fledge_builder_microvm.run_machine import Hardware, WriteError, run_machine
        from fledge_builder_microvm.run_output import Lines
        from fledge_builder_microvm.run_surroundings import surround
        from fledge_builder_microvm.run_upper import changes_of, read_scratch

        made_of = self._hardware = self._hardware or Hardware.choose(self._context, self._platform.architecture)
        lines = Lines(self._tell)
        with ExitStack() as stack:
            address, nameservers = _addresses(made_of.vmm.guest_network) if step.network else (None, [])
            around = surround(step, root, nameservers, address)
            modules = made_of.modules(Ext4.kernel_features(b""), network=step.network)
            described = _describe(step, around, made_of.vmm.output_device or "")
            archive = initramfs.for_step(made_of.kernel.architecture, modules, described, around.files, around.owners)
            disks = Disks(self._context, stack, made_of.resources.disk_mb * _MIB)
            scratch = disks.scratch(root.root)
            attached = [disks.lower(around.root), scratch, *disks.mounted(around.disks)]
            try:
                console = run_machine(
                    made_of, archive, attached, network=step.network, context=self._context, output=lines.add
                )
            except WriteError:
                disks.drop_caches()
                raise
            said = lines.end()
            left = read_scratch(scratch.path)
            _expect_success(left, said, console, made_of)
        upper = left.root.entries.get(b"upper")
        if not isinstance(upper, Directory):
            raise BuildError("the step removed the folder that takes its changes")
        return changes_of(upper, root.root, self._context.progress)


def _describe(step: RunStep, around: Surroundings, output: str) -> Step:
    """The step, for the guest init. Raises BuildError for what that can't take."""
    from fledge_guest import Step, Workload

    from fledge_builder_microvm.run_surroundings import HOSTNAME

    try:
        workload = Workload(
            step.argv, env=step.environ, workdir=step.workdir, user=step.user or None, hostname=HOSTNAME
        )
        return Step(workload, _SCRATCH, output, tuple(around.mounts))
    except ValueError as error:
        raise BuildError(str(error)) from error


def _addresses(network: str | None) -> tuple[str | None, Sequence[str]]:
    """The guest's address and its name servers, out of Vmm.guest_network."""
    if network is None:
        return None, []
    address, _, *nameservers = network.split(",")
    return address.partition("/")[0], nameservers


def _expect_success(left: Tree, said: Sequence[str], console: Console, made_of: Hardware) -> None:
    """Raises BuildError for a step that failed. `said`: its last lines."""
    from fledge_guest import STEP_STATUS

    file = left.root.entries.get(STEP_STATUS.encode())
    if not isinstance(file, File):
        raise BuildError("the machine ended before the step did", transcript=console.tail())
    # The step is root in its machine, and may have written to it.
    told = _STATUS.fullmatch(file.content.read() if file.content.size < _STATUS_SIZE else b"")
    if told is None:
        raise BuildError(f"the step changed the file {STEP_STATUS} of the disk that takes its changes")
    how, number = told[1], int(told[2])
    if (how, number) == (b"exited", 0):
        return
    hint = None
    if any("Out of memory" in line for line in console.tail()):
        hint = f"the machine's {made_of.resources.memory_mb} MiB were used up; set FLEDGE_BUILD_MEMORY_MB to more"
    end = f"ended with exit code {number}" if how == b"exited" else f"was killed by {_signal_name(number)}"
    raise BuildError(f"the command {end}", hint=hint, transcript=said)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
