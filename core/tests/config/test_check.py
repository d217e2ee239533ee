"""Every kind of error in our words."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from fledge.config.check import check
from fledge.errors import Problem
from fledge.options import Form, Options
from pydantic import BaseModel, Field, field_validator, model_validator


class Inner(Options):
    name: Annotated[str, Field(min_length=1)] = "x"
    size: Annotated[int, Field(gt=0, lt=10)] = 1


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Everything(Options):
    text: str = ""
    number: int = 0
    real: float = 0.0
    flag: bool = False
    level: Annotated[int, Field(ge=1, le=22)] = 1
    least: Annotated[int, Field(ge=0)] = 0
    most: Annotated[int, Field(le=5)] = 0
    choice: Literal["alpha", "beta"] = "alpha"
    version: Literal["1"] = "1"
    colour: Colour = Colour.RED
    short: Annotated[str, Field(max_length=3)] = ""
    long: Annotated[str, Field(min_length=3)] = "abc"
    digits: Annotated[str, Field(pattern="^[0-9]+$")] = "1"
    form: Annotated[str, Form("[ab]+", "made of a and b")] = "a"
    own: str = ""
    names: list[str] = []  # noqa: RUF012
    some: Annotated[tuple[str, ...], Field(min_length=1)] = ("a",)
    table: dict[str, int] = {}  # noqa: RUF012
    inner: Inner = Inner()
    inners: list[Inner] = []  # noqa: RUF012
    by_name: dict[str, Inner] = {}  # noqa: RUF012
    perhaps: Inner | None = None
    path: Path = Path("/")
    either: int | bool = 1
    several: str | list[str] = ""

    @field_validator("own")
    @classmethod
    def _own(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("'bad' is bad; allowed: anything else")
        return value


class Needs(Options):
    kind: Literal["a", "b"]
    name: str


def told(table: dict[str, Any], model: type[BaseModel] = Everything) -> list[str]:
    problems: list[Problem] = []
    result = check(model, table, problems, file="f")
    assert (result is None) == bool(problems)
    lines = [str(problem) for problem in problems]
    assert not any("pydantic" in line.lower() or "http" in line for line in lines)
    return lines


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"text": 5}, 'f: text: 5 is not a string (write "5")'),
        ({"text": True}, 'f: text: true is not a string (write "true")'),
        ({"text": ["x"]}, "f: text: an array is not a string"),
        ({"number": "5"}, "f: number: '5' is not an integer"),
        ({"number": 5.0}, "f: number: 5.0 is not an integer"),
        ({"number": 5.5}, "f: number: 5.5 is not an integer"),
        ({"number": True}, "f: number: true is not an integer"),
        ({"real": "5"}, "f: real: '5' is not a number"),
        ({"flag": 1}, "f: flag: 1 is not true or false"),
        ({"flag": "false"}, "f: flag: 'false' is not true or false"),
        ({"level": 0}, "f: level: 0 is out of range; allowed: 1 to 22"),
        ({"level": 23}, "f: level: 23 is out of range; allowed: 1 to 22"),
        ({"least": -1}, "f: least: -1 is out of range; allowed: at least 0"),
        ({"most": 6}, "f: most: 6 is out of range; allowed: at most 5"),
        ({"choice": "alpah"}, "f: choice: 'alpah' is not allowed; allowed: 'alpha', 'beta' (did you mean 'alpha'?)"),
        ({"choice": "x"}, "f: choice: 'x' is not allowed; allowed: 'alpha', 'beta'"),
        ({"version": 1}, "f: version: 1 is not allowed; allowed: '1' (write \"1\")"),
        ({"colour": "reed"}, "f: colour: 'reed' is not allowed; allowed: 'red', 'blue' (did you mean 'red'?)"),
        ({"short": "abcd"}, "f: short: 'abcd' is too long; at most 3"),
        ({"long": "ab"}, "f: long: 'ab' is too short; at least 3"),
        ({"digits": "x"}, "f: digits: 'x' does not have the form ^[0-9]+$"),
        ({"form": "abc"}, "f: form: 'abc' is not made of a and b"),
        ({"form": "a\n"}, "f: form: 'a\\n' is not made of a and b"),
        ({"own": "bad"}, "f: own: 'bad' is bad; allowed: anything else"),
        ({"names": "x"}, "f: names: 'x' is not an array"),
        ({"names": ["a", 1]}, 'f: names[1]: 1 is not a string (write "1")'),
        ({"some": []}, "f: some: must not be empty"),
        ({"some": "x"}, "f: some: 'x' is not an array"),
        ({"table": []}, "f: table: an array is not a table"),
        ({"table": {"a.b": "x"}}, "f: table.\"a.b\": 'x' is not an integer"),
        ({"inner": 5}, "f: inner: 5 is not a table"),
        ({"inner": {"name": ""}}, "f: inner.name: must not be empty"),
        ({"inner": {"size": 10}}, "f: inner.size: 10 is out of range; allowed: over 0 to below 10"),
        ({"inner": {"nmae": "x"}}, "f: inner.nmae: unknown key 'nmae'; did you mean 'name'?"),
        ({"inners": [{}, {"nmae": "x"}]}, "f: inners[1].nmae: unknown key 'nmae'; did you mean 'name'?"),
        ({"by_name": {"a b": {"zzz": 1}}}, "f: by_name.\"a b\".zzz: unknown key 'zzz'; allowed: 'name', 'size'"),
        ({"perhaps": {"nmae": "x"}}, "f: perhaps.nmae: unknown key 'nmae'; did you mean 'name'?"),
        ({"path": 5}, 'f: path: 5 is not a string (write "5")'),
        ({"either": "x"}, "f: either: 'x' is not an integer; or 'x' is not true or false"),
        ({"several": 5}, 'f: several: 5 is not a string; or 5 is not an array (write "5")'),
        ({"several": ["a", 5]}, None),
        ({"text": "x" * 200, "txet": 1}, "f: txet: unknown key 'txet'; did you mean 'text'?"),
    ],
)
def test_wording(table: dict[str, Any], line: str | None) -> None:
    lines = told(table)
    if line is None:
        assert lines
    else:
        assert lines == [line]


def test_what_is_missing_says_what_is_allowed() -> None:
    assert told({}, Needs) == ["f: kind: missing; allowed: 'a', 'b'", "f: name: missing"]


def test_a_long_value_is_cut() -> None:
    (line,) = told({"choice": "x" * 500})
    assert len(line) < 200


def test_an_unforeseen_error_keeps_the_value_and_loses_the_link() -> None:
    from pydantic import UUID4

    class Odd(Options):
        id: UUID4 = None  # type: ignore[assignment]

    (line,) = told({"id": "x"}, Odd)
    assert line.startswith("f: id: 'x': input should be a valid UUID")


class Rules(Options):
    a: int = 0
    b: int = 0
    inners: list[Inner] = []  # noqa: RUF012

    @model_validator(mode="after")
    def _differ(self) -> "Rules":
        if self.a == self.b:
            raise ValueError("a and b must differ")
        return self


def test_an_unknown_key_does_not_hide_a_rule_about_several() -> None:
    assert told({"a": 1, "b": 1, "c": 1, "inners": [{"nmae": ""}]}, Rules) == [
        "f: inners[0].nmae: unknown key 'nmae'; did you mean 'name'?",
        "f: c: unknown key 'c'; allowed: 'a', 'b', 'inners'",
        "f: a and b must differ",
    ]


def test_unknown_keys_of_both_arms_of_a_union() -> None:
    class Other(Options):
        colour: int

    class Either(Options):
        one: Inner | Other

    assert told({"one": {"xyz": 1}}, Either)


def test_all_come_at_once() -> None:
    assert len(told({"text": 1, "number": "x", "inner": {"size": 0, "other": 1}, "zzz": 1})) == 5
