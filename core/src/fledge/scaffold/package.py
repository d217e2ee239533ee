"""A plugin's package, from templates: a file each for what all kinds share, a driver and its tests for each kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from fledge import drivers
from fledge.errors import BuildError, UsageError

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST: Final = 40
_TITLES: Final = {
    "strategy": "Strategy",
    "filesystem": "Filesystem",
    "agent": "Agent",
    "transport": "Transport",
    "builder": "Builder",
    "vmm": "Vmm",
    "extension": "Extension",
}
"""How the class of a driver's kind ends."""


@dataclass(frozen=True, slots=True)
class Package:
    """What a new plugin is called, everywhere."""

    kind: str
    """One of drivers.GROUPS."""
    name: str
    """What users write."""

    @property
    def distribution(self) -> str:
        """The name for pip: `fledge-fs-tar`."""
        return drivers.package(self.kind, self.name).replace("_", "-")

    @property
    def module(self) -> str:
        """The name for import: `fledge_fs_tar`."""
        return self.distribution.replace("-", "_")

    @property
    def driver(self) -> str:
        """The class: `TarFilesystem`."""
        return "".join(part.capitalize() for part in re.split("[-_]", self.name)) + _TITLES[self.kind]

    @property
    def variables(self) -> Mapping[str, str]:
        """What the templates name."""
        major, minor = (int(part) for part in version("fledge").split(".")[:2])
        return {
            "kind": self.kind,
            "name": self.name,
            "distribution": self.distribution,
            "module": self.module,
            "driver": self.driver,
            "group": drivers.GROUPS[self.kind],
            "fledge": f"fledge>={major}.{minor},<{major}.{minor + 1}",
        }


def new_package(kind: str, name: str, folder: Path | None = None) -> Path:
    """Makes the package in `folder` (None: one of the distribution's name, here), and returns the folder.

    Raises UsageError when the name can't be one or is taken, or when the folder is there already.
    """
    check_name(kind, name)
    package = Package(kind, name)
    folder = Path(package.distribution) if folder is None else folder
    try:
        folder.mkdir(parents=True)
        for path, template in _layout(package).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_template(template).substitute(package.variables))
    except FileExistsError:
        raise UsageError(
            f"{folder} exists already; nothing is overwritten", hint="name another folder with --output"
        ) from None
    except OSError as error:
        raise BuildError(f"can't write {error.filename or folder}: {error.strerror}") from error
    return folder


def check_name(kind: str, name: str) -> None:
    """Raises UsageError unless a driver can be called so: users write it in TOML, and pip in a package's name."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"{name!r} can't be the name of a plugin; expected lowercase letters and digits, words joined by - or _, "
            f"a letter first, {_LONGEST} characters at most"
        )
    if name in drivers.names(kind) or (kind, name) == ("agent", "none"):
        raise UsageError(f"the {kind} {name!r} exists already; two can't have one name")
    package = Package(kind, name).distribution
    with suppress(PackageNotFoundError):
        # Of a driver with another name: the strategy oci_rootfs is in fledge-strategy-oci.
        distribution(package)
        raise UsageError(f"the package {package} exists already; two can't have one name")


def _layout(package: Package) -> Mapping[str, str]:
    """The files, and the template of each."""
    return {
        "pyproject.toml": "pyproject",
        "README.md": "readme",
        f"src/{package.module}/__init__.py": "init",
        f"src/{package.module}/driver.py": package.kind,
        f"src/{package.module}/py.typed": "empty",
        "tests/test_conformance.py": f"test_{package.kind}",
    }


def _template(name: str) -> Template:
    # Not .py and .md: what checks this repository must not take them for its own.
    return Template((files("fledge.scaffold") / "templates" / f"{name}.txt").read_text("utf-8"))
