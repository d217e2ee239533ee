"""Reads a TOML document; whatever is wrong with it becomes a Problem."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fledge.config.keys import Location, key_path
from fledge.errors import Problem

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


def read(path: Path, problems: list[Problem], *, hint: str) -> dict[str, Any] | None:
    """The document, or None after adding to `problems`. `hint`: the remedy when there is no such file."""
    file = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        problems.append(Problem(file, "", "no such file", hint))
        return None
    except OSError as error:
        problems.append(Problem(file, "", f"can't be read: {error.strerror}"))
        return None
    try:
        # Windows editors begin UTF-8 files with a byte order mark.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(
            Problem(file, "", f"line {line} is not UTF-8: byte 0x{data[error.start]:02x}", "save it as UTF-8")
        )
        return None
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and int() on a number of over 4300 digits
        problems.append(Problem(file, "", _syntax(str(error), text)))
        return None
    except RecursionError:
        problems.append(Problem(file, "", "tables or arrays are nested too deeply"))
        return None
    dated = [
        Problem(file, key_path(key), f"{value} is a date or time; none is allowed here")
        for key, value in _dates(document)
    ]
    problems.extend(dated)
    return None if dated else document


def _syntax(message: str, text: str) -> str:
    place = _PLACE.search(message)
    if place is None:
        line, column = len(text.splitlines()) or 1, len(text.splitlines()[-1]) + 1 if text else 1
    elif place[1]:
        line, column = int(place[1]), int(place[2])
    else:
        lines = text.splitlines() or [""]
        line, column = len(lines), len(lines[-1]) + 1
    what = _PLACE.sub("", message)
    return f"line {line}, column {column}: not TOML: {what[:1].lower()}{what[1:]}"


def _dates(value: Any, at: Location = ()) -> Iterator[tuple[Location, Any]]:
    """TOML has dates and times, JSON and so our models have not."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _dates(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _dates(item, (*at, index))
    elif isinstance(value, datetime.date | datetime.time):
        yield at, value
