"""Directives, comments, continuation lines and heredocs."""

from __future__ import annotations

import pytest
from fledge.errors import BuildError
from fledge_builder_microvm.lines import Heredoc, Line, read_lines


def read(text: str) -> list[Line]:
    return list(read_lines(text, "Dockerfile").lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM x\nRUN a\n", [("1", "FROM", "x"), ("2", "RUN", "a")]),
        ("FROM x", [("1", "FROM", "x")]),
        ("\ufeffFROM x\r\nRUN a \\\r\n b\r\n", [("1", "FROM", "x"), ("2", "RUN", "a  b")]),
        ("# c\n\n  from x\n\t#c\nRUN\ta  b\n", [("3", "FROM", "x"), ("5", "RUN", "a  b")]),
        ("RUN a \\\n  b\\\nc\nRUN d", [("1", "RUN", "a   bc"), ("4", "RUN", "d")]),
        ("RUN a \\  \n b", [("1", "RUN", "a  b")]),
        ("RUN a \\\n# comment\n   # more\n b", [("1", "RUN", "a  b")]),
        ("RUN a \\\n\n\n b\nRUN c", [("1", "RUN", "a  b"), ("5", "RUN", "c")]),
        ("RUN a \\\\\nRUN b", [("1", "RUN", "a \\\\"), ("2", "RUN", "b")]),
        ("RUN a \\", [("1", "RUN", "a")]),
        ("RUN a # no comment\n", [("1", "RUN", "a # no comment")]),
        ("# escape=`\nRUN a `\n b\\\nRUN c", [("2", "RUN", "a  b\\"), ("4", "RUN", "c")]),
        ("# nothing\n# escape=`\nRUN a\\\n b", [("3", "RUN", "a b")]),
        ("# syntax=docker/dockerfile:1.7-labs\n#check=skip=all\nRUN a", [("3", "RUN", "a")]),
        ("EXPOSE", [("1", "EXPOSE", "")]),
        ("", []),
    ],
)
def test_lines(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(line.place, line.keyword, line.rest) for line in read(text)] == [
        (f"Dockerfile:{number}", keyword, rest) for number, keyword, rest in expected
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=/\nFROM x", r"Dockerfile:1: escape=/; \\ and ` are allowed"),
        ("# escape=`\n# escape=`\n", "Dockerfile:2: the parser directive escape is there twice"),
        ("# syntax=my/frontend\n", "Dockerfile:1: syntax=my/frontend is a frontend of its own"),
        ("RUN a\nCOPY <<EOF /x\nb\n", "Dockerfile:2: the heredoc EOF is not ended by a line that is EOF"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN <<EOF\n a\n\n# b\nEOF\n", [Heredoc("EOF", " a\n\n# b\n", True, " a\n\n# b\n")]),
        ("RUN cat <<'E F' >x\nEOF\nE F\n", [Heredoc("E F", "EOF\n", False, "EOF\n")]),
        ("RUN cat <<'EOF' >x\n$a\\\nEOF\n", [Heredoc("EOF", "$a\\\n", False, "$a\\\n")]),
        ('COPY <<"A" <<B /x/\n1\nA\n2\nB\n', [Heredoc("A", "1\n", False, "1\n"), Heredoc("B", "2\n", True, "2\n")]),
        ("RUN <<-EOF\n\t\ta\n\tEOF\n", [Heredoc("EOF", "a\n", True, "\t\ta\n")]),
        ("RUN 3<<EOF x\na\nEOF\n", [Heredoc("EOF", "a\n", True, "a\n")]),
        ("COPY <<EOF /x\nEOF\n", [Heredoc("EOF", "", True, "")]),
        ("ONBUILD RUN <<EOF\na\nEOF\n", [Heredoc("EOF", "a\n", True, "a\n")]),
        ("RUN a << b\n", []),
        ("RUN echo $((1<<2))\n", []),
        ('RUN ["a", "<<EOF"]\n', []),
        ('# escape=`\nRUN ["a\\" <<EOF "]\n', []),
        ("RUN [ -d /x ] || cat <<EOF\na\nEOF\n", [Heredoc("EOF", "a\n", True, "a\n")]),
        ("CMD cat <<EOF\n", []),
        ("RUN <<EOF\na\r\nEOF\r\n", [Heredoc("EOF", "a\r\n", True, "a\r\n")]),
    ],
)
def test_heredocs(text: str, expected: list[Heredoc]) -> None:
    first, *more = read(text) if expected else read(text)[:1]
    assert list(first.heredocs) == expected
    assert not more
