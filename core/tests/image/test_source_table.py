"""The keys of [source] that every strategy with an image shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fledge.config.check import check
from fledge.errors import Problem
from fledge.image.source_table import ImageSourceTable
from jsonschema import Draft202012Validator


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"build_args": {"A": "1\0"}}, "build_args.A: '1\\x00' is not without NUL bytes"),
        ({"target": "a\0b"}, "target: 'a\\x00b' is not without NUL bytes"),
    ],
)
def test_what_no_builder_can_be_given(keys: dict[str, Any], problem: str) -> None:
    problems: list[Problem] = []
    table = {"dockerfile": "D", **keys}
    assert check(ImageSourceTable, table, problems, file="f") is None
    assert [str(one) for one in problems] == [f"f: {problem}"]
    assert not Draft202012Validator(ImageSourceTable.model_json_schema()).is_valid(table)


def test_lines_are_a_value() -> None:
    assert check(ImageSourceTable, {"dockerfile": "D", "build_args": {"A": "1\n2\n"}}, [], file="f") is not None


def test_the_name_is_that_of_the_folder_that_the_user_gave(tmp_path: Path) -> None:
    for folder in ("app", "shared"):
        (tmp_path / folder).mkdir()
    (tmp_path / "shared" / "Dockerfile").touch()
    (tmp_path / "app" / "Dockerfile").symlink_to("../shared/Dockerfile")
    (tmp_path / "app" / "loop").symlink_to("loop")
    for name in ("Dockerfile", "loop", "absent"):
        assert ImageSourceTable(dockerfile=f"./app/{name}").default_name(tmp_path) == "app"
    assert ImageSourceTable(dockerfile="/Dockerfile").default_name(tmp_path) is None
