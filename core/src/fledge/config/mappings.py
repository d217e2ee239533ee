"""`[mappings]` as values."""

from __future__ import annotations

import os
from collections.abc import Mapping as MappingType
from pathlib import Path

from fledge.config.keys import Location, key_path
from fledge.errors import Problem
from fledge.plan import Mapping
from fledge.values import GuestPath


def parse(
    tables: MappingType[Location, object], base_dir: Path, problems: list[Problem], *, file: str
) -> tuple[Mapping, ...]:
    """The mappings of all tables (each under its place in the file), sorted by destination."""
    found: dict[GuestPath, tuple[str, Mapping]] = {}
    for at, table in tables.items():
        for source, destination in table.items() if isinstance(table, dict) else ():
            if not isinstance(destination, str):
                continue
            key = key_path((*at, source))
            if not source or "\0" in source:
                problems.append(Problem(file, key, f"{source!r} is not a path of the host"))
                continue
            try:
                guest = GuestPath.parse(destination)
            except ValueError as error:
                problems.append(Problem(file, key, str(error)))
                continue
            mapping = Mapping(base_dir / source, guest, into=destination.endswith("/"), origin=file)
            final = guest / os.fsencode(mapping.source.name) if mapping.into else guest
            if final in found:
                problems.append(Problem(file, key, f"{final} is the destination of {found[final][0]} too"))
                continue
            found[final] = key, mapping
    return tuple(mapping for _, (_, mapping) in sorted(found.items(), key=lambda item: bytes(item[0])))
