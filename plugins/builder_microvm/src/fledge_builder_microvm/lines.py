"""A Dockerfile as logical lines: parser directives, comments, continuation lines, heredocs.

As BuildKit's parser reads it (docs.docker.com/reference/dockerfile, "Format" and "Here-documents"). Of the libraries,
dockerfile-parse takes heredocs for instructions and ends an instruction at an empty continuation line, and the others
need a Go compiler.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fledge.errors import BuildError

from fledge_builder_microvm.words import UnfinishedError, Words

_DIRECTIVE: Final = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES: Final = ("syntax", "escape", "check")
_FRONTEND: Final = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?(:.*)?(@.*)?")
_HEREDOC: Final = re.compile(r"([0-9]*)<<(-?)([^<]*)")
_TABS: Final = re.compile(r"^\t+", re.MULTILINE)
_MAY_HAVE_HEREDOCS: Final = ("ADD", "COPY", "RUN")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A document between `<<NAME` and a line that is `NAME`."""

    name: str
    content: str
    """Its lines, newlines included; for `<<-` without the tabs that they begin with."""
    expand: bool
    """Whether variables in it are replaced: not where the name was quoted."""
    raw: str
    """Its lines as they stand, for a shell that reads the document itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction, not looked into yet."""

    place: str
    """`Dockerfile:12`."""
    keyword: str
    """Upper-case."""
    rest: str
    heredocs: tuple[Heredoc, ...]

    @property
    def text(self) -> str:
        """The instruction for the log and the image's history."""
        return f"{self.keyword} {self.rest}"


@dataclass(frozen=True, slots=True)
class Lines:
    """A whole Dockerfile."""

    lines: tuple[Line, ...]
    escape: str


def read_lines(text: str, name: str) -> Lines:
    """The instructions of a Dockerfile. `name` begins places.

    Raises BuildError for a bad parser directive and a heredoc without its end.
    """
    rows = text.removeprefix("\ufeff").split("\n")
    if rows[-1] == "":
        rows.pop()
    escape = _directives(rows, name)
    return Lines(tuple(_Reader(rows, name, escape)), escape)


def _directives(rows: list[str], name: str) -> str:
    """Checks the parser directives at the top; returns the escape character."""
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        match = _DIRECTIVE.fullmatch(row.strip())
        key = match[1].lower() if match else ""
        if match is None or key not in _DIRECTIVES:
            break
        if key in found:
            raise BuildError(f"{name}:{number}: the parser directive {key} is there twice")
        found[key] = value = match[2]
        if key == "escape" and value not in ("\\", "`"):
            raise BuildError(f"{name}:{number}: escape={value}; \\ and ` are allowed")
        if key == "syntax" and not _FRONTEND.fullmatch(value):
            raise BuildError(
                f"{name}:{number}: syntax={value} is a frontend of its own; docker/dockerfile is allowed",
                hint="the builders buildkit and docker run other frontends",
            )
    return found.get("escape", "\\")


class _Reader:
    def __init__(self, rows: list[str], name: str, escape: str) -> None:
        self._rows = rows
        self._name = name
        self._escape = escape
        # An escape character that is itself escaped does not continue the line.
        token = re.escape(escape)
        self._continued = re.compile(rf"(^|[^{token}]){token}[ \t]*$")
        self._next = 0

    def __iter__(self) -> Iterator[Line]:
        while (row := self._take()) is not None:
            place = f"{self._name}:{self._next}"
            text, more = self._cut(row.lstrip())
            if _is_comment(row) or (not more and not text):
                continue
            while more and (row := self._take()) is not None:
                if _is_comment(row) or not row.strip():
                    continue
                piece, more = self._cut(row)
                text += piece
            keyword, rest = _split_keyword(text)
            yield Line(place, keyword.upper(), rest, self._heredocs(keyword.upper(), rest, place))

    def _take(self) -> str | None:
        if self._next == len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def _cut(self, row: str) -> tuple[str, bool]:
        """The row without its continuation character, and whether it had one."""
        row = row.rstrip("\r")
        match = self._continued.search(row)
        return (row[: match.end(1)], True) if match else (row, False)

    def _heredocs(self, keyword: str, rest: str, place: str) -> tuple[Heredoc, ...]:
        if keyword == "ONBUILD":
            keyword, rest = _split_keyword(rest)
        if keyword.upper() not in _MAY_HAVE_HEREDOCS or "<<" not in rest or json_list(rest) is not None:
            return ()
        try:
            words = Words(self._escape).split_raw(rest)
        except UnfinishedError:
            return ()  # A shell's own quoting, which is not for us to judge.
        found = (heredoc_start(word) for word in words)
        return tuple(self._body(*start, place) for start in found if start is not None)

    def _body(self, name: str, chomp: bool, expand: bool, place: str) -> Heredoc:
        rows: list[str] = []
        while (row := self._take()) is not None:
            if (row.lstrip("\t") if chomp else row).rstrip("\r") == name:
                raw = "".join(f"{row}\n" for row in rows)
                return Heredoc(name, _TABS.sub("", raw) if chomp else raw, expand, raw)
            rows.append(row)
        raise BuildError(f"{place}: the heredoc {name} is not ended by a line that is {name}")


def json_list(text: str) -> list[Any] | None:
    """The list that `text` is in JSON; None where it is something else, such as `[ -d /x ] || y`."""
    if not text.startswith("["):
        return None
    try:
        found: list[Any] = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def with_heredocs(text: str, heredocs: Iterable[Heredoc]) -> str:
    """An instruction and its documents, as they stand in the Dockerfile."""
    return text + "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in heredocs)


def heredoc_start(word: str) -> tuple[str, bool, bool] | None:
    """The name of the heredoc that a word begins, whether it is `<<-`, and whether variables in it are replaced."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    name = match[3]
    bare = name.replace("'", "").replace('"', "").replace("\\", "")
    return (bare, bool(match[2]), bare == name) if bare else None


def _is_comment(row: str) -> bool:
    return row.lstrip().startswith("#")


def _split_keyword(text: str) -> tuple[str, str]:
    keyword, *rest = text.strip().split(None, 1) or ("",)
    return keyword, rest[0] if rest else ""
