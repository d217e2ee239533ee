"""Which one? Named drivers, found through entry points. The only module that knows stevedore.

Only the drivers that are asked for are imported, so a broken plugin harms nobody who does not name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fledge.errors import BuildError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fledge.kinds import Driver

GROUPS: Final = {
    "strategy": "fledge.strategies",
    "filesystem": "fledge.filesystems",
    "agent": "fledge.agents",
    "transport": "fledge.transports",
    "builder": "fledge.builders",
    "vmm": "fledge.vmms",
    "extension": "fledge.extensions",
}
"""The kinds, and the entry-point group of each."""

_PREFIX: Final = {
    "strategy": "strategy",
    "filesystem": "fs",
    "agent": "agent",
    "transport": "transport",
    "builder": "builder",
    "vmm": "vmm",
    "extension": "ext",
}
_OWN_PACKAGE: Final = {
    ("strategy", "oci_rootfs"): "fledge-strategy-oci",
    ("transport", "docker"): "fledge-transport-registry",
    ("transport", "docker-daemon"): "fledge-transport-docker",
    ("transport", "oci"): "fledge-transport-archive",
    ("transport", "oci-archive"): "fledge-transport-archive",
    ("transport", "docker-archive"): "fledge-transport-archive",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point that is there, whether it loads or not."""

    kind: str
    name: str
    distribution: str
    version: str
    failure: str | None = None
    """Why it did not load."""


def names(kind: str) -> Sequence[str]:
    """The names of the installed drivers of a kind, sorted. Nothing is imported."""
    from stevedore import NamedExtensionManager

    found: list[str] = NamedExtensionManager(GROUPS[kind], names=[]).entry_points_names()
    return sorted(set(found))


def load(kind: str, name: str) -> type[Driver]:
    """Loads the class of one driver.

    Raises UsageError, naming the installed ones, when there is none of that name or when two distributions claim
    the name; BuildError when it can't be imported.
    """
    # Not DriverManager: it logs a missing name beside raising NoMatches, and can be kept from it only by an option
    # that stevedore deprecates.
    from stevedore import NamedExtensionManager
    from stevedore.exception import MultipleMatches
    from stevedore.extension import error_on_conflict

    def failed(_: object, __: object, error: BaseException) -> None:
        raise BuildError(
            f"the {kind} {name!r} does not load: {_describe(error)}",
            hint="'fledge plugins' tells which distribution it is from",
        ) from error

    try:
        manager: NamedExtensionManager[Driver] = NamedExtensionManager(
            GROUPS[kind],
            names=[name],
            on_load_failure_callback=failed,
            on_missing_entrypoints_callback=None,
            conflict_resolver=error_on_conflict,
        )
        return manager[name].plugin
    except KeyError:
        raise unknown(kind, name) from None
    except MultipleMatches as error:
        raise UsageError(
            f"two installed distributions offer the {kind} {name!r}", hint="uninstall one of them"
        ) from error


def unknown(kind: str, name: str) -> UsageError:
    """The error for a name that no installed distribution offers."""
    from difflib import get_close_matches

    there = list(names(kind))
    if kind == "agent":
        there.append("none")  # No driver's name, yet allowed.
    near = get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(
        f"unknown {kind} {name!r}; installed: {', '.join(there) or 'none'}",
        hint=f"{hint}otherwise try: pip install {package(kind, name)}"
        if near
        else f"try: pip install {package(kind, name)}",
    )


def package(kind: str, name: str) -> str:
    """The distribution that offers a driver, by the naming of the standard plugins."""
    return _OWN_PACKAGE.get((kind, name), f"fledge-{_PREFIX[kind]}-{name}")


def extensions() -> Sequence[tuple[str, object]]:
    """Every installed extension with its name, by name. Raises BuildError when one does not load."""
    from stevedore import ExtensionManager

    def failed(_: object, point: EntryPoint, error: BaseException) -> None:
        raise BuildError(
            f"the extension {point.name!r} ({point.value}) does not load: {_describe(error)}",
            hint="'fledge plugins' tells which distribution it is from",
        ) from error

    manager: ExtensionManager[object] = ExtensionManager(GROUPS["extension"], on_load_failure_callback=failed)
    return sorted((extension.name, extension.plugin) for extension in manager)


def installed() -> Sequence[Installed]:
    """Every entry point of every kind, by kind and name; each is loaded to see whether it does.

    Read from the distributions' metadata: stevedore's cached entry points don't know their distribution.
    """
    from importlib.metadata import entry_points

    found = []
    for kind, group in GROUPS.items():
        for point in entry_points(group=group):
            failure = None
            try:
                point.load()
            except Exception as error:  # A plugin may fail in any way, and this is where it is told
                failure = _describe(error)
            assert point.dist is not None
            found.append(Installed(kind, point.name, point.dist.name, point.dist.version, failure))
    order = list(GROUPS)
    return sorted(found, key=lambda one: (order.index(one.kind), one.name, one.distribution))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
