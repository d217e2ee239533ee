"""What is wrong, in our words: the value, and what is allowed. The one place that knows pydantic's types of error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from fledge.config.keys import list_of, nearest, show

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from fledge.config.spot import Spot

_EXPECTED: Final = {
    "string_type": "a string",
    "int_type": "an integer",
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


def wording(detail: ErrorDetails, spot: Spot, also: Iterable[str]) -> tuple[str, str | None]:
    """The message and the hint for one error. `also`: keys that are known there beside the model's."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(spot.location[-1]), spot.model, also)
    if kind in _EXPECTED:
        hint = f'write "{show(value)}"' if kind == "string_type" and isinstance(value, int | float) else None
        return f"{show(value)} is not {_EXPECTED[kind]}", hint
    if kind in _OUT_OF_RANGE:
        return f"{show(value)} is out of range; allowed: {_range(spot.field, context)}", None
    words = _WORDINGS.get(kind)
    if words is None:
        message = detail["msg"]
        return f"{show(value)}: {message[:1].lower()}{message[1:]}", None
    return words(value, context, spot.field)


def _unknown_key(key: str, model: type[BaseModel] | None, also: Iterable[str]) -> tuple[str, str | None]:
    elsewhere: Mapping[str, str] = getattr(model, "elsewhere", {})
    if key in elsewhere:
        return elsewhere[key], None
    own = model.model_fields.items() if model is not None else ()
    known = [*(field.alias or name for name, field in own), *also]
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
