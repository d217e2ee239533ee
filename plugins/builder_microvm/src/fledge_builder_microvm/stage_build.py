"""The instructions of one stage, carried out one after the other."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from signal import Signals
from typing import TYPE_CHECKING, Any, Final

from fledge.errors import BuildError
from fledge.tree.content import Content
from fledge.values import GuestPath

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.changes import Change, limit_times
from fledge_builder_microvm.copy_step import CopyStep
from fledge_builder_microvm.copying import guest_path, text_of
from fledge_builder_microvm.digits import whole_number
from fledge_builder_microvm.edit import Edit
from fledge_builder_microvm.layer_writer import write_layer
from fledge_builder_microvm.owners import find_owner
from fledge_builder_microvm.parse import parse_trigger
from fledge_builder_microvm.places import telling
from fledge_builder_microvm.step_cache import StepKey

if TYPE_CHECKING:
    from fledge_builder_microvm.build import Build, StageState
    from fledge_builder_microvm.graph import Stage
    from fledge_builder_microvm.origins import Origin

_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")
_REALTIME: Final = re.compile(r"RT(MIN(\+([1-9]|1[0-5]))?|MAX(-([1-9]|1[0-4]))?)")
_LAST_SIGNAL: Final = 64


class StageBuilder:
    """Carries out the instructions of one stage on its state."""

    def __init__(self, build: Build, stage: Stage, state: StageState) -> None:
        self._build = build
        self._stage = stage
        self._created = build.created(state)
        self._files = state.files
        self._config = state.config
        self._scope = state.scope
        self._words = build.dockerfile.words
        self._number = self._total = 0

    def run(self) -> None:
        """All of them, the triggers of the base image first. Raises BuildError with the line."""
        place = f"{self._stage.start.place}: ONBUILD"
        triggered = [parse_trigger(trigger, place) for trigger in self._config.take_triggers()]
        instructions = [*triggered, *self._stage.instructions]
        self._total = 1 + len(instructions)
        self._log(self._stage.start)
        for instruction in instructions:
            self._do(instruction)

    def _do(self, instruction: ins.Instruction) -> None:
        keyword = instruction.text.split(None, 1)[0]
        before = len(self._files.layers)
        with telling(f"{instruction.place}: {keyword}"):
            _METHODS[type(instruction)](self, instruction)
        has_layer = len(self._files.layers) > before
        self._config.add_history(instruction.text, self._created, has_layer=has_layer)

    def _log(self, instruction: ins.Instruction, outcome: str = "") -> None:
        self._number += 1
        several = len(self._build.dockerfile.graph.stages) > 1
        stage = f"{self._stage.name}: " if several else ""
        self._build.context.progress.info(f"{stage}step {self._number}/{self._total} {instruction.text}{outcome}")

    def _expand(self, text: str) -> str:
        return self._words.expand(text, self._scope.variables)

    def _origin(self, name: str | None) -> Origin:
        return self._build.origin(name, self._stage, self._files.epoch)

    # What makes layers

    def _layer(
        self,
        instruction: ins.Instruction,
        settled: Sequence[Any],
        make: Callable[[], Sequence[Change]],
        contents: Sequence[Content] = (),
        *,
        edits: bool,
    ) -> None:
        """Puts the layer of a step on top: the one that it made before, or that of the changes that `make` makes.

        `edits`: whether `make` makes them in the tree, too.
        """
        build = self._build
        key = StepKey(self._files.diff_ids, [build.request.epoch, *settled], contents)
        layers = None if build.request.no_cache else build.cache.find(key)
        edited = False
        self._log(instruction, " (cached)" if layers is not None else "")
        if layers is None:
            changes = make()
            if build.latest is not None:
                limit_times(changes, build.latest)
            layers = [write_layer(build.context.store, changes)] if changes else []
            build.cache.keep(key, layers)
            edited = edits
        for layer in layers:
            self._files.add(layer, edited=edited)

    def _copy(self, instruction: ins.Copy) -> None:
        step = CopyStep(
            instruction,
            self._words,
            self._scope.variables,
            self._config.workdir,
            self._origin(instruction.origin),
            self._build.context,
            self._files.epoch,
        )
        settled, contents = step.settled()
        self._layer(instruction, settled, lambda: step.changes(self._files.tree), contents, edits=True)

    def _run(self, instruction: ins.Run) -> None:
        from fledge_builder_microvm.settle_run import RunSettler  # A Dockerfile without RUN need not wait for it.

        settler = RunSettler(self._build.request, self._words, self._origin)
        step, settled = settler.settle(instruction, self._config, self._scope, self._files.epoch)

        def make() -> Sequence[Change]:
            runner = self._build.runner(self._stage.platform)
            edit = Edit(self._files.tree)
            edit.make_folders(guest_path(step.workdir))
            return [*edit.changes(), *runner.run(step, self._files.tree)]

        self._layer(instruction, settled, make, edits=False)

    def _workdir(self, instruction: ins.Workdir) -> None:
        path = guest_path(posixpath.join(self._config.workdir, self._expand(instruction.path)))
        user = self._config.run.get("User") or ""

        def make() -> Sequence[Change]:
            edit = Edit(self._files.tree)
            edit.make_folders(path, *self._workdir_owner(user, path))
            return edit.changes()

        self._layer(instruction, ("WORKDIR", text_of(path), user, self._files.epoch), make, edits=True)
        self._config.run["WorkingDir"] = text_of(path)

    def _workdir_owner(self, user: str, path: GuestPath) -> tuple[int, int]:
        """USER's, and root where the image does not know it: BuildKit tells so only when something runs."""
        if not user or self._files.tree.get(path) is not None:
            return 0, 0
        try:
            return find_owner(user, self._files.tree)
        except BuildError as error:
            self._build.context.progress.warning(f"{path} belongs to root: {error.message}")
            return 0, 0

    # What changes the config alone

    def _arg(self, instruction: ins.Arg) -> None:
        self._log(instruction)
        for name, default in instruction.pairs:
            self._scope.declare(self._expand(name), None if default is None else self._expand(default))

    def _env(self, instruction: ins.Env) -> None:
        self._log(instruction)
        # All are replaced before one is set ("Environment replacement": the value throughout the instruction).
        for name, value in [(self._expand(name), self._expand(value)) for name, value in instruction.pairs]:
            self._config.set_env(name, value)
            self._scope.set(name, value)

    def _label(self, instruction: ins.Label) -> None:
        self._log(instruction)
        for name, value in instruction.pairs:
            self._config.add_label(self._expand(name), self._expand(value))

    def _user(self, instruction: ins.User) -> None:
        self._log(instruction)
        self._config.run["User"] = self._expand(instruction.user)

    def _shell(self, instruction: ins.Shell) -> None:
        self._log(instruction)
        self._config.run["Shell"] = list(instruction.argv)

    def _argv(self, command: ins.Command) -> list[str]:
        return list(command.argv) if command.shell is None else [*self._config.shell, command.shell]

    def _cmd(self, instruction: ins.Cmd) -> None:
        self._log(instruction)
        self._config.set_cmd(self._argv(instruction.command))

    def _entrypoint(self, instruction: ins.Entrypoint) -> None:
        self._log(instruction)
        self._config.set_entrypoint(self._argv(instruction.command))

    def _expose(self, instruction: ins.Expose) -> None:
        self._log(instruction)
        variables = self._scope.variables
        ports: list[str] = []
        for text in (word for port in instruction.ports for word in self._words.expand_many(port, variables)):
            match = _PORTS.fullmatch(text.lower())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if match is None or not 1 <= first <= last <= 65535:
                raise BuildError(f"{text!r} is not a port such as 80, 80/udp or 8000-8010/tcp, from 1 to 65535")
            ports += [f"{number}/{match[3] or 'tcp'}" for number in range(first, last + 1)]
        self._config.add_members("ExposedPorts", ports)

    def _volume(self, instruction: ins.Volume) -> None:
        self._log(instruction)
        paths = [self._expand(path) for path in instruction.paths]
        if not all(paths):
            raise BuildError("the path of a volume is empty")
        self._config.add_members("Volumes", paths)

    def _healthcheck(self, instruction: ins.Healthcheck) -> None:
        self._log(instruction)
        command = instruction.command
        if command is None:
            self._config.run["Healthcheck"] = {"Test": ["NONE"]}
            return
        test = ["CMD", *command.argv] if command.shell is None else ["CMD-SHELL", command.shell]
        check: dict[str, Any] = {
            "Test": test,
            **{name: value for name, value in instruction.durations.items() if value},
        }
        if instruction.retries:
            check["Retries"] = instruction.retries
        self._config.run["Healthcheck"] = check

    def _stop_signal(self, instruction: ins.StopSignal) -> None:
        self._log(instruction)
        signal = self._expand(instruction.signal)
        name = signal.upper().removeprefix("SIG")
        if not (whole_number(name, _LAST_SIGNAL) or f"SIG{name}" in Signals.__members__ or _REALTIME.fullmatch(name)):
            raise BuildError(f"{signal!r} is not a signal such as SIGTERM or 9")
        self._config.run["StopSignal"] = signal

    def _maintainer(self, instruction: ins.Maintainer) -> None:
        self._log(instruction)
        self._config.set_author(instruction.author)

    def _onbuild(self, instruction: ins.Onbuild) -> None:
        self._log(instruction)
        parse_trigger(instruction.trigger, instruction.place)
        self._config.add_trigger(instruction.trigger)


_METHODS: Final[Mapping[type[ins.Instruction], Callable[[StageBuilder, Any], None]]] = {
    ins.Arg: StageBuilder._arg,
    ins.Cmd: StageBuilder._cmd,
    ins.Copy: StageBuilder._copy,
    ins.Entrypoint: StageBuilder._entrypoint,
    ins.Env: StageBuilder._env,
    ins.Expose: StageBuilder._expose,
    ins.Healthcheck: StageBuilder._healthcheck,
    ins.Label: StageBuilder._label,
    ins.Maintainer: StageBuilder._maintainer,
    ins.Onbuild: StageBuilder._onbuild,
    ins.Run: StageBuilder._run,
    ins.Shell: StageBuilder._shell,
    ins.StopSignal: StageBuilder._stop_signal,
    ins.User: StageBuilder._user,
    ins.Volume: StageBuilder._volume,
    ins.Workdir: StageBuilder._workdir,
}
