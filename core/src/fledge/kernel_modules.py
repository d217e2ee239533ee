"""A kernel's modules on the host: what is there, what it needs, and in which order that is loaded.

Reads the text files that depmod(8) writes beside the modules (modules.dep(5)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from fledge.errors import BuildError

SUFFIXES: Final = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


_VERMAGIC: Final = re.compile(rb"\0vermagic=([!-~]+) ")
"""Of the section .modinfo (include/linux/vermagic.h)."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module's name, with `_` for every `-`, and its file on the host."""

    name: str
    path: Path

    def read(self) -> bytes:
        """The module as plain .ko: not every kernel decompresses. Raises BuildError when it can't be read."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise BuildError(f"can't read the kernel module {self.path}: {error.strerror}") from error
        try:
            return _decompress(data, self.path.suffix)
        except ValueError as error:
            raise BuildError(f"the kernel module {self.path} can't be decompressed: {error}") from error

    def release(self) -> str | None:
        """The kernel that it is made for, `uname -r`; None where it does not say. Raises BuildError as `read`."""
        match = _VERMAGIC.search(self.read())
        return match[1].decode("ascii") if match else None


def _decompress(data: bytes, suffix: str) -> bytes:
    """Raises ValueError for damaged data."""
    match suffix:
        case ".gz":
            import gzip
            import zlib

            try:
                return gzip.decompress(data)
            except (OSError, EOFError, zlib.error) as error:
                raise ValueError(error) from error
        case ".xz":
            import lzma

            try:
                return lzma.decompress(data)
            except lzma.LZMAError as error:
                raise ValueError(error) from error
        case ".zst":
            import zstandard

            reader = zstandard.ZstdDecompressor().decompressobj()
            try:
                plain = reader.decompress(data)
            except zstandard.ZstdError as error:
                raise ValueError(error) from error
            if not reader.eof:
                raise ValueError("it is cut off")
            return plain
    return data


class KernelModules:
    """A folder such as /lib/modules/6.1.0-13-cloud-amd64."""

    def __init__(self, folder: Path) -> None:
        """Raises BuildError when there is no such folder or it has no modules.dep."""
        self.folder = folder
        self._lines = {name_of(path): (path, needs.split()) for path, needs in _dep_lines(folder)}

    def __contains__(self, name: str) -> bool:
        """Whether there is a file for the module."""
        return name_of(name) in self._lines

    def is_builtin(self, name: str) -> bool:
        """Whether the kernel itself has it."""
        return name_of(name) in self._builtin

    def closure(self, names: Iterable[str]) -> list[Module]:
        """The modules of these names with all that they need, each after what it needs itself; none for what is built in.

        Raises BuildError for a name that is neither a module nor built in.
        """
        order: dict[str, Module] = {}
        for name in names:
            if name_of(name) in self._lines:
                self._add(name_of(name), order, set())
            elif not self.is_builtin(name):
                raise BuildError(
                    f"unknown kernel module {name!r}: neither in modules.dep nor in modules.builtin of {self.folder}"
                )
        return list(order.values())

    def _add(self, name: str, order: dict[str, Module], above: set[str]) -> None:
        if name in order or name in above:
            return
        path, needs = self._lines[name]
        for needed in (*self._soft.get(name, ()), *(name_of(one) for one in reversed(needs))):
            # A soft dependency that is nowhere is none: modprobe passes over it, too.
            if needed in self._lines:
                self._add(needed, order, above | {name})
        order[name] = Module(name, self.folder / path)

    @cached_property
    def _builtin(self) -> frozenset[str]:
        return frozenset(name_of(line) for line in _lines(self.folder / "modules.builtin"))

    @cached_property
    def _soft(self) -> dict[str, list[str]]:
        """What to load before a module, of `softdep NAME pre: A B post: C`, with aliases followed."""
        found: dict[str, list[str]] = {}
        for line in _lines(self.folder / "modules.softdep"):
            if line.startswith("softdep "):
                _, name, *words = line.split()
                wanted = found.setdefault(name_of(name), [])
                before = False
                for word in words:
                    if word in ("pre:", "post:"):
                        before = word == "pre:"
                    elif before:
                        wanted += self._aliases.get(word, [name_of(word)])
        return found

    @cached_property
    def _aliases(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in _lines(self.folder / "modules.alias"):
            if line.startswith("alias ") and len(words := line.split()) == 3:
                found.setdefault(words[1], []).append(name_of(words[2]))
        return found


def name_of(path: str) -> str:
    """The module's name of a file's path, or of a name: `-` and `_` mean the same."""
    name = path.rpartition("/")[2]
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.replace("-", "_")


def _dep_lines(folder: Path) -> list[tuple[str, str]]:
    lines = _lines(folder / "modules.dep")
    if not lines and not os.path.isdir(folder):
        raise BuildError(f"there is no folder of kernel modules {folder}")
    if not lines:
        raise BuildError(f"{folder} is not a folder of kernel modules: it has no modules.dep", hint="run depmod")
    return [(path, needs) for path, _, needs in (line.partition(":") for line in lines)]


def _lines(path: Path) -> list[str]:
    """Empty where there is no such file: depmod writes only some of them."""
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
