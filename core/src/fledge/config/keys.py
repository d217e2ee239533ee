"""Key paths and values as people write them in TOML."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

Location = tuple[str | int, ...]
"""Where a value stands: keys of tables and indexes of arrays, outermost first."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 80


def key_path(location: Location) -> str:
    """`network.expose[0].port`, `mappings."./my.conf"`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            path += f".{key}" if path else key
    return path


def show(value: Any) -> str:
    """A value with its TOML spelling, cut where it is long."""
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, list | tuple):
        return "an array"
    else:
        text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def list_of(names: Iterable[str]) -> str:
    """`'a', 'b'`."""
    return ", ".join(f"'{name}'" for name in names)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be."""
    names = list(known)
    begun = [one for one in names if len(name) > 2 and one.startswith(name.lower())]
    found = begun or difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return found[0] if found else None
