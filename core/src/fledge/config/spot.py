"""Where in a model pydantic found an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from fledge.config.keys import Location

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Spot(NamedTuple):
    """Where in a model an error is."""

    location: Location
    """Without the labels that pydantic adds for the arms of a union."""
    model: type[BaseModel] | None
    """The model whose key the last part of the location is, if it is one's."""
    field: FieldInfo | None


def locate(model: type[BaseModel], location: Location) -> Spot:
    """Follows pydantic's location of an error through the model's annotations."""
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
        elif isinstance(part, int) or _is_key_of(items, part):
            owner, field, here = None, None, _item(items)
        elif owner is not None and part == location[-1]:
            field, here = None, None  # A key that the model does not have
        else:
            continue
        shown.append(part)
    return Spot(tuple(shown), owner, field)


def _is_key_of(annotation: Any, part: str) -> bool:
    # "[key]" is what pydantic adds for an error in the key itself.
    return annotation is not None and issubclass(get_origin(annotation), Mapping) and part != "[key]"


def _item(annotation: Any) -> Any:
    """What an array or a table of free keys holds: `dict[str, T]`, `list[T]`, `tuple[T, ...]`."""
    return next((one for one in reversed(get_args(annotation)) if one is not Ellipsis), None)


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
