"""Quotes, escapes and variables; the expected values are BuildKit's."""

from __future__ import annotations

import pytest
from fledge_builder_microvm.words import UnfinishedError, Words

VARIABLES = {"a": "abc", "empty": "", "path": "/usr/local/bin:/usr/bin", "file": "archive.tar.gz", "two": "x  y"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$a", "abc"),
        ("${a}", "abc"),
        ("x${a}y$a", "xabcyabc"),
        ("$a-b.c", "abc-b.c"),
        ("$unset", ""),
        (r"\$a", "$a"),
        (r"\\$a", r"\abc"),
        (r"a\ b", "a b"),
        ("'$a'", "$a"),
        (r"'a\n'", r"a\n"),
        ('"$a"', "abc"),
        (r'"\$a \"q\" \\ \n"', r'$a "q" \ \n'),
        (r"a\nb", "anb"),
        ("a$", "a$"),
        ("$", "$"),
        ('"$"', "$"),
        ("$1", ""),
        ("$@x", "x"),
        ("${a:-x}", "abc"),
        ("${unset:-x}", "x"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${unset-x}", "x"),
        ("${a:+x}", "x"),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${unset+x}", ""),
        ("${unset:-$a}", "abc"),
        ("${unset:-${empty:-deep}}", "deep"),
        ('${unset:-"x y"}', "x y"),
        (r"${unset:-\}}", "}"),
        ("${a:?gone}", "abc"),
        ("${file#*.}", "tar.gz"),
        ("${file##*.}", "gz"),
        ("${file%.*}", "archive.tar"),
        ("${file%%.*}", "archive"),
        ("${file#nothing}", "archive.tar.gz"),
        ("${path/bin/lib}", "/usr/local/lib:/usr/bin"),
        ("${path//bin/lib}", "/usr/local/lib:/usr/lib"),
        ("${file/a?c/X}", "Xhive.tar.gz"),
        ("${a//*/y}", "y"),
        ("${a/*/y}", "y"),
        ("${empty//*/y}", "y"),
        ("${a//b*/y}", "ay"),
        ("${a//?/y}", "yyy"),
        ("${a///y}", "yaybycy"),
        ("a\\", "a"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert Words("\\").expand(text, VARIABLES) == expected


@pytest.mark.parametrize(
    "text", ["'a", '"a', "${a", "${", "${}", "${:-x}", "${a:x}", "${a:-x", "${a^^}", "${unset:?is missing}", "${a/b}"]
)
def test_what_is_not_finished(text: str) -> None:
    with pytest.raises(UnfinishedError):
        Words("\\").expand(text, VARIABLES)


def test_the_message_of_what_must_be_set() -> None:
    with pytest.raises(UnfinishedError, match="unset: is missing in"):
        Words("\\").expand("${unset:?is missing}", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        ("$two", ["x", "y"]),
        ('"$two"', ["x  y"]),
        ("p$two", ["px", "y"]),
        ("''", [""]),
        ("$unset", []),
    ],
)
def test_variables_with_several_words(text: str, expected: list[str]) -> None:
    assert Words("\\").expand_many(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1 b=2", ["a=1", "b=2"]),
        (" a=\"x y\"  b='p q' ", ['a="x y"', "b='p q'"]),
        (r"a=x\ y b", [r"a=x\ y", "b"]),
        (r'a="x\" y" b', [r'a="x\" y"', "b"]),
        ("a='\\' b", ["a='\\'", "b"]),
    ],
)
def test_splitting_keeps_what_stands_there(text: str, expected: list[str]) -> None:
    assert Words("\\").split_raw(text) == expected


def test_another_escape_character() -> None:
    assert Words("`").expand(r"C:\x`$a`` ", VARIABLES) == r"C:\x$a` "
