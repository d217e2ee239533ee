"""Reading TOML: whatever is wrong with the file becomes a problem that says where."""

from pathlib import Path

import pytest
from fledge.config.document import read
from fledge.errors import Problem


def problem_of(path: Path) -> Problem:
    problems: list[Problem] = []
    assert read(path, problems, hint="the hint") is None
    assert len(problems) == 1
    assert problems[0].file == str(path)
    return problems[0]


def test_a_missing_file_comes_with_the_hint(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "x.toml") == Problem(str(tmp_path / "x.toml"), "", "no such file", "the hint")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a directory" in problem_of(tmp_path).message.lower()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"a = ", "line 1, column 5: not TOML: invalid value", id="ends early"),
        pytest.param(b"a = 1\nb 2\n", "line 2, column 3: not TOML: expected '=' after a key", id="no equals sign"),
        pytest.param(b"a = 1\na = 2\n", "line 2, column 6: not TOML: cannot overwrite a value", id="key twice"),
        pytest.param(b"[a]\n[a]\n", "line 2, column 3: not TOML: cannot declare ('a',) twice", id="table twice"),
        pytest.param(b"a = '''\nx", "line 2, column 2: not TOML: ", id="open string"),
        pytest.param(b"a = " + b"9" * 5000, "not TOML: ", id="number too long"),
        pytest.param(b"a = " + b"[" * 9999, "nested too deeply", id="nesting"),
        pytest.param(b"a = 1\nb = '\xff'\n", "line 2 is not UTF-8: byte 0xff", id="not UTF-8"),
        pytest.param("a = 1".encode("utf-16"), "line 1 is not UTF-8: byte 0xff", id="UTF-16"),
        pytest.param(b"a = 1979-05-27\n", "1979-05-27 is a date or time; none is allowed here", id="date"),
    ],
)
def test_what_is_no_document(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "fledge.toml"
    path.write_bytes(data)
    assert message in problem_of(path).message


def test_every_date_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fledge.toml"
    path.write_text("a = 1979-05-27\n[b]\nc = [1, 07:32:00]\n")
    problems: list[Problem] = []
    assert read(path, problems, hint="") is None
    assert [problem.key for problem in problems] == ["a", "b.c[1]"]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "fledge.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read(path, [], hint="") == {"a": 1}
