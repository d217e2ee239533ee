"""Checks a table against its model and says what is wrong in our words, not in pydantic's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fledge.config.keys import Location, key_path
from fledge.config.spot import locate
from fledge.config.wording import wording
from fledge.errors import Problem

Model = TypeVar("Model", bound=BaseModel)


def check(
    model: type[Model],
    table: Mapping[str, Any],
    problems: list[Problem],
    *,
    file: str,
    at: Location = (),
    also: Iterable[str] = (),
) -> Model | None:
    """The table as an instance of `model`, or None after adding everything that is wrong with it to `problems`.

    `at`: where the table stands in the file. `also`: keys that are known there beside the model's, for
    "did you mean". JSON mode, since strict validation of Python values wants tuples and Paths that TOML has not.
    """
    try:
        return model.model_validate_json(json.dumps(table), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # Several errors at one place are the arms of a union that all failed.
    found: dict[str, tuple[list[str], str | None]] = {}
    unknown = []
    for detail in details:
        spot = locate(model, detail["loc"])
        message, hint = wording(detail, spot, also if len(spot.location) == 1 else ())
        messages, _ = found.setdefault(key_path((*at, *spot.location)), ([], hint))
        if message not in messages:
            messages.append(message)
        if detail["type"] == "extra_forbidden":
            unknown.append(spot.location)
    problems.extend(Problem(file, key, "; or ".join(messages), hint) for key, (messages, hint) in found.items())
    if len(unknown) == len(details) and (known := _without(table, unknown)) != table:
        # Rules about several keys are looked at only when every key is right by itself.
        check(model, known, problems, file=file, at=at, also=also)
    return None


def _without(table: Mapping[str, Any], locations: Iterable[Location]) -> Mapping[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(table))
    for location in locations:
        here: Any = copy
        for part in location[:-1]:
            here = here.get(part, {}) if isinstance(here, dict) else here[part]
        here.pop(location[-1], None)
    return copy
