"""Checks a table against its model and says what is wrong in our words, never in pydantic's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from fledge.config.keys import Location, key_path, list_of, nearest, show
from fledge.errors import Problem

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

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
        spot = _spot(model, detail["loc"])
        message, hint = _message(detail, spot, also if len(spot.location) == 1 else ())
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
            here = here[part] if isinstance(here, list) else here.get(part, {})
        here.pop(location[-1], None)
    return copy


class _Spot(NamedTuple):
    """Where in a model an error is."""

    location: Location
    """Without the labels that pydantic adds for the arms of a union."""
    model: type[BaseModel] | None
    """The model whose key the last part of the location is, if it is one's."""
    field: FieldInfo | None


def _spot(model: type[BaseModel], location: Location) -> _Spot:
    shown: list[str | int] = []
    here: Any = model
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    for part in location:
        inside = _containers(here)
        owner = next((one for one in inside if isinstance(one, type) and issubclass(one, BaseModel)), None)
        items = next((one for one in inside if get_origin(one) is not None), None)
        if isinstance(part, str) and owner is not None and (found := _field(owner, part)) is not None:
            field, here = found, found.annotation
        elif isinstance(part, int) or (
            items is not None and issubclass(get_origin(items), Mapping) and part != "[key]"
        ):
            field, here = None, next((one for one in reversed(get_args(items)) if one is not Ellipsis), None)
            owner = None
        elif owner is not None and part == location[-1]:
            field, here = None, None
        else:
            continue
        shown.append(part)
    return _Spot(tuple(shown), owner, field)


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    for name, field in model.model_fields.items():
        if (field.alias or name) == key:
            return field
    return None


def _containers(annotation: Any) -> list[Any]:
    """The models, arrays and tables that an annotation allows."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    if isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Iterable):
        return [annotation]
    return [one for arm in get_args(annotation) if not isinstance(arm, str) for one in _containers(arm)]


def _known(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


_EXPECTED: Final = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "an array",
    "tuple_type": "an array",
    "set_type": "an array",
    "frozen_set_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
"""pydantic's types of error for a value of the wrong TOML type."""

_OUT_OF_RANGE: Final = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def _message(detail: ErrorDetails, spot: _Spot, also: Iterable[str]) -> tuple[str, str | None]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(spot.location[-1]), spot.model, also)
    if kind in _EXPECTED:
        hint = f'write "{show(value)}"' if kind == "string_type" and isinstance(value, int | float) else None
        return f"{show(value)} is not {_EXPECTED[kind]}", hint
    if kind in _OUT_OF_RANGE:
        return f"{show(value)} is out of range; allowed: {_range(spot.field, context)}", None
    wording = _WORDINGS.get(kind)
    if wording is None:
        message = detail["msg"]
        return f"{show(value)}: {message[:1].lower()}{message[1:]}", None
    return wording(value, context, spot.field)


def _unknown_key(key: str, model: type[BaseModel] | None, also: Iterable[str]) -> tuple[str, str | None]:
    elsewhere: Mapping[str, str] = getattr(model, "elsewhere", {})
    if key in elsewhere:
        return elsewhere[key], None
    known = [*(_known(model) if model is not None else ()), *also]
    meant = nearest(key, known)
    if meant is not None:
        return f"unknown key '{key}'; did you mean '{meant}'?", None
    return f"unknown key '{key}'; {f'allowed: {list_of(sorted(known))}' if known else 'none is allowed here'}", None


def _missing(_: Any, __: Mapping[str, Any], field: FieldInfo | None) -> tuple[str, str | None]:
    allowed = _choices(field)
    return f"missing{f'; allowed: {list_of(allowed)}' if allowed else ''}", None


def _not_a_choice(value: Any, context: Mapping[str, Any], field: FieldInfo | None) -> tuple[str, str | None]:
    allowed = _choices(field) or re.findall(r"'([^']*)'", str(context.get("expected", "")))
    meant = nearest(value, allowed) if isinstance(value, str) else None
    hint = f"did you mean '{meant}'?" if meant is not None else None
    if isinstance(value, int | float) and show(value) in allowed:
        hint = f'write "{show(value)}"'
    return f"{show(value)} is not allowed; allowed: {list_of(allowed)}", hint


def _choices(field: FieldInfo | None) -> list[str]:
    """The strings of a Literal."""
    if field is None:
        return []
    return [one for one in get_args(field.annotation) if isinstance(one, str)]


def _range(field: FieldInfo | None, context: Mapping[str, Any]) -> str:
    bounds = dict(context)
    for metadata in field.metadata if field is not None else ():
        bounds |= {name: getattr(metadata, name) for name in ("ge", "gt", "le", "lt") if hasattr(metadata, name)}
    low = f"{bounds['ge']}" if "ge" in bounds else f"over {bounds['gt']}" if "gt" in bounds else None
    high = f"{bounds['le']}" if "le" in bounds else f"below {bounds['lt']}" if "lt" in bounds else None
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}"


def _too_short(value: Any, context: Mapping[str, Any], _: FieldInfo | None) -> tuple[str, str | None]:
    least = context["min_length"]
    return ("must not be empty" if least == 1 else f"{show(value)} is too short; at least {least}"), None


def _too_long(value: Any, context: Mapping[str, Any], _: FieldInfo | None) -> tuple[str, str | None]:
    return f"{show(value)} is too long; at most {context['max_length']}", None


def _no_match(value: Any, context: Mapping[str, Any], _: FieldInfo | None) -> tuple[str, str | None]:
    return f"{show(value)} does not have the form {context['pattern']}", None


def _own_words(_: Any, context: Mapping[str, Any], __: FieldInfo | None) -> tuple[str, str | None]:
    return str(context["error"]), None


_WORDINGS: Final[Mapping[str, Callable[[Any, Mapping[str, Any], FieldInfo | None], tuple[str, str | None]]]] = {
    "missing": _missing,
    "literal_error": _not_a_choice,
    "enum": _not_a_choice,
    "string_too_short": _too_short,
    "too_short": _too_short,
    "string_too_long": _too_long,
    "too_long": _too_long,
    "string_pattern_mismatch": _no_match,
    "value_error": _own_words,
    "assertion_error": _own_words,
}
