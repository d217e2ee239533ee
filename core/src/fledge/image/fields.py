"""JSON from strangers: bounded, unambiguous, and read field by field with the type that the spec gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from fledge.errors import BuildError
from fledge.values import Digest

DOCUMENT_LIMIT: Final = 4 << 20
"""Bytes; what registries accept at most (distribution-spec, "Pushing Manifests": at least 4 MiB must be supported)."""

_INT64_MAX: Final = (1 << 63) - 1


def load_object(data: bytes, what: str, limit: int = DOCUMENT_LIMIT) -> Fields:
    """The JSON object in `data`. `what` begins every message about it.

    Raises BuildError when it is over `limit` bytes, not UTF-8, not JSON (NaN and Infinity are not), nested too deeply,
    or something else than an object.
    """
    value = _load(data, what, limit)
    if not isinstance(value, dict):
        raise BuildError(f"{what} is not a JSON object")
    return Fields(value, what)


def load_objects(data: bytes, what: str, limit: int = DOCUMENT_LIMIT) -> tuple[Fields, ...]:
    """The same for a JSON list of objects."""
    return Fields({"list": _load(data, what, limit)}, what).objects("list")


def _load(data: bytes, what: str, limit: int) -> Any:
    if len(data) > limit:
        raise BuildError(f"{what} is longer than the {limit >> 20} MiB that are allowed")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise BuildError(f"{what} is JSON that is nested too deeply") from None
    except ValueError as error:
        raise BuildError(f"{what} is not valid JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class Fields:
    """A JSON object whose members are asked for by name and type. null is the same as absent, as Go writes both.

    Every method raises BuildError, naming the document and the member, when it is there with another type.
    """

    __slots__ = ("_members", "where")

    def __init__(self, members: dict[str, Any], where: str) -> None:
        self._members = members
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self._members.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        """The members' names."""
        return iter(self._members)

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raises the BuildError about a member."""
        raise BuildError(f"{self.where}: {key}: {problem}")

    def text(self, key: str) -> str | None:
        """A string, which is never empty: Go's omitempty makes no difference between that and none."""
        value = self._members.get(key)
        if value is None or value == "":
            return None
        return self._text(key, value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; a lone string counts as a list of one, as in Docker's configs."""
        value = self._members.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.fail(key, f"a list of strings is expected, not {_kind(value)}")
        return tuple(self._text(key, one) for one in value)

    def number(self, key: str) -> int | None:
        """A whole number from 0 to 2^63-1."""
        value = self._members.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(key, f"a whole number is expected, not {_kind(value)}")
        if not 0 <= value <= _INT64_MAX:
            self.fail(key, f"{value} is out of range; 0 to 2^63-1 is allowed")
        return value

    def digest(self, key: str) -> Digest:
        """A digest, which must be there."""
        return self._digest(key, self._members.get(key))

    def digests(self, key: str) -> tuple[Digest, ...]:
        """A list of digests."""
        return tuple(self._digest(key, one) for one in self._list(key))

    def object(self, key: str) -> Fields | None:
        """An object."""
        value = self._members.get(key)
        return None if value is None else self._object(key, value)

    def objects(self, key: str) -> tuple[Fields, ...]:
        """A list of objects."""
        return tuple(self._object(f"{key}[{i}]", one) for i, one in enumerate(self._list(key)))

    def _list(self, key: str) -> list[Any]:
        value = self._members.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(key, f"a list is expected, not {_kind(value)}")
        return value

    def _object(self, key: str, value: Any) -> Fields:
        if not isinstance(value, dict):
            self.fail(key, f"an object is expected, not {_kind(value)}")
        return Fields(value, f"{self.where}: {key}")

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            self.fail(key, f"a string is expected, not {_kind(value)}")
        # JSON can escape lone surrogates (RFC 8259 section 8.2), which no file and no terminal can be given.
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            self.fail(key, f"{value!r} is not valid Unicode")
        return value

    def _digest(self, key: str, value: Any) -> Digest:
        try:
            return Digest.parse(value)
        except ValueError as error:
            self.fail(key, str(error))


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value"}
    return names.get(type(value), "a number")
