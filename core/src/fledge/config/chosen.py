"""The drivers that fledge.toml names, with their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

from fledge.config.check import check
from fledge.config.fledge_toml import FledgeToml
from fledge.config.keys import list_of, nearest
from fledge.errors import FledgeError, Problem
from fledge.options import NoOptions, Options, StrategyOptions
from fledge.plan import Choice

if TYPE_CHECKING:
    from fledge.kinds import Driver, Strategy

NO_AGENT: Final = "none"
DEFAULT_AGENT: Final = "release"

_CORE_KEYS: Final = tuple(FledgeToml.model_fields)


class Catalog(Protocol):
    """Where drivers are found: the module fledge.drivers, or a test's own."""

    def names(self, kind: str) -> Sequence[str]:
        """The names of the installed drivers of a kind."""
        ...

    def load(self, kind: str, name: str) -> type[Driver]:
        """The class of one driver. Raises UsageError or BuildError."""
        ...


@dataclass(frozen=True, slots=True)
class Choices:
    """The drivers of a build."""

    strategy: Choice
    filesystem: Choice
    agent: Choice | None
    artifact_kind: Literal["rootfs", "initramfs"]

    @property
    def options(self) -> StrategyOptions:
        """The strategy's."""
        return cast("StrategyOptions", self.strategy.options)


def choose(data: Mapping[str, Any], catalog: Catalog, problems: list[Problem], *, file: str) -> Choices | None:
    """The drivers that the document names, or None after adding what is wrong to `problems`.

    Looks at the document as far as it is well-formed: what core owns of it is checked against FledgeToml.
    """
    return _Chooser(data, catalog, problems, file).choices()


class _Chooser:
    def __init__(self, data: Mapping[str, Any], catalog: Catalog, problems: list[Problem], file: str) -> None:
        self._data = data
        self._catalog = catalog
        self._problems = problems
        self._file = file

    def choices(self) -> Choices | None:
        driver, strategy = self._strategy()
        filesystem = self._filesystem(driver)
        agent = self._agent(strategy)
        if driver is None or strategy is None or filesystem is None or agent is None:
            return None
        return Choices(strategy, filesystem, agent if agent.name != NO_AGENT else None, driver.artifact_kind)

    def _strategy(self) -> tuple[type[Strategy] | None, Choice | None]:
        name = self._data.get("strategy")
        rest = {key: value for key, value in self._data.items() if key not in _CORE_KEYS}
        if name is None:
            self._tell("strategy", f"missing; allowed: {list_of(self._catalog.names('strategy'))}")
        driver = cast("type[Strategy] | None", self._driver("strategy", name, "strategy"))
        if driver is None:
            # Whose keys they are is not known; those of core can still be recognized.
            for key in rest:
                if (meant := nearest(key, _CORE_KEYS)) is not None:
                    self._tell(key, f"unknown key '{key}'; did you mean '{meant}'?")
            return None, None
        options = check(driver.options_model, rest, self._problems, file=self._file, also=_CORE_KEYS)
        return driver, Choice(str(name), options) if options is not None else None

    def _filesystem(self, strategy: type[Strategy] | None) -> Choice | None:
        table = self._data.get("filesystem", {})
        if not isinstance(table, dict):
            return None
        name = table.get("type", strategy.default_filesystem if strategy is not None else None)
        driver = self._driver("filesystem", name, "filesystem.type")
        if driver is None:
            return None
        if strategy is not None and strategy.filesystems is not None and name not in strategy.filesystems:
            self._tell(
                "filesystem.type",
                f"{name!r} does not go with the strategy {self._data['strategy']!r}; "
                f"allowed: {list_of(sorted(strategy.filesystems))}",
            )
        rest = {key: value for key, value in table.items() if key not in ("type", "mappings")}
        return self._choice("filesystem", "filesystem", str(name), driver, rest, ("type", "mappings"))

    def _agent(self, strategy: Choice | None) -> Choice | None:
        table = self._data.get("agent")
        refusal = cast("StrategyOptions", strategy.options).without_agent() if strategy is not None else None
        if refusal is not None:
            if table is not None:
                self._tell("agent", refusal, "remove [agent]")
            return Choice(NO_AGENT, NoOptions())
        if table is None:
            table = {"source_strategy": DEFAULT_AGENT}
        if not isinstance(table, dict):
            return None
        name = table.get("source_strategy")
        rest = {key: value for key, value in table.items() if key != "source_strategy"}
        if name == NO_AGENT:
            options = check(NoOptions, rest, self._problems, file=self._file, at=("agent",), also=("source_strategy",))
            return Choice(NO_AGENT, options) if options is not None else None
        if name is None:
            names = [*self._catalog.names("agent"), NO_AGENT]
            self._tell("agent.source_strategy", f"missing; allowed: {list_of(names)}")
        driver = self._driver("agent", name, "agent.source_strategy")
        if driver is None:
            return None
        return self._choice("agent", "agent", str(name), driver, rest, ("source_strategy",))

    def _driver(self, kind: str, name: object, key: str) -> type[Driver] | None:
        if not isinstance(name, str):
            return None
        try:
            return self._catalog.load(kind, name)
        except FledgeError as error:
            self._tell(key, error.message, error.hint)
            return None

    def _choice(
        self, kind: str, table: str, name: str, driver: type[Driver], rest: dict[str, Any], also: tuple[str, ...]
    ) -> Choice | None:
        model = driver.options_model
        foreign = [key for key in rest if key not in model.model_fields and key not in model.elsewhere]
        told = {key for key in foreign if self._tell_owner(kind, table, name, key)}
        left = {key: value for key, value in rest.items() if key not in told}
        options: Options | None = check(model, left, self._problems, file=self._file, at=(table,), also=also)
        return Choice(name, options) if options is not None else None

    def _tell_owner(self, kind: str, table: str, name: str, key: str) -> bool:
        """Changing the type and leaving the old one's options behind is the usual way to an unknown key here."""
        owners = []
        for other in self._catalog.names(kind):
            try:
                if key in self._catalog.load(kind, other).options_model.model_fields:
                    owners.append(other)
            except FledgeError:
                continue
        if owners:
            verb = "has" if len(owners) == 1 else "have"
            self._tell(f"{table}.{key}", f"the {kind} {name!r} has no '{key}'; {list_of(owners)} {verb}")
        return bool(owners)

    def _tell(self, key: str, message: str, hint: str | None = None) -> None:
        self._problems.append(Problem(self._file, key, message, hint))
