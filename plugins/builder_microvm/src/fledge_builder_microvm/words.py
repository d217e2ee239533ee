"""Words of a Dockerfile: quotes, escapes, and the variables that are replaced in them.

The reference's "Environment replacement": `$name`, `${name}`, `:-` `:+` `:?` `-` `+` `?`, and the `#` `##` `%` `%%`
`/` `//` of newer frontends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NoReturn

_NAME: Final = re.compile(r"[0-9]+|[@*#?$!-]|[^\W\d]\w*")
_BAD_START: Final = ("{", "}", ":")
_DEEPEST: Final = 100
"""Substitutions in one another: each takes some of Python's stack."""
_EXCERPT: Final = 200
"""Characters of a text in a message."""


class UnfinishedError(ValueError):
    """A quote or brace that is not closed, or a substitution that there is not."""


class Words:
    """Splits and expands. `escape`: the Dockerfile's escape character."""

    def __init__(self, escape: str) -> None:
        self._escape = escape

    def expand(self, text: str, variables: Mapping[str, str]) -> str:
        """`text` as one word: quotes removed, variables replaced. Raises UnfinishedError."""
        return _Expansion(text, self._escape, variables).all().joined()

    def expand_document(self, text: str, variables: Mapping[str, str]) -> str:
        """A heredoc's text: variables replaced, quotes left as they are. Raises UnfinishedError."""
        return _Expansion(text, self._escape, variables, quotes=False).all().joined()

    def expand_many(self, text: str, variables: Mapping[str, str]) -> list[str]:
        """The words of `text`; a variable that is not in quotes can bring several. Raises UnfinishedError."""
        return _Expansion(text, self._escape, variables).all().words()

    def split_raw(self, text: str) -> list[str]:
        """The words of `text`, with their quotes, escapes and variables as they stand. Raises UnfinishedError."""
        found: list[str] = []
        start: int | None = None
        quote = ""
        at = 0
        while at < len(text):
            char = text[at]
            if start is None and not char.isspace():
                start = at
            if char == self._escape and quote != "'":
                at += 2
                continue
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            elif char.isspace() and start is not None:
                found.append(text[start:at])
                start = None
            at += 1
        if quote:
            raise UnfinishedError(f"a {quote} is not closed in {_excerpt(text)!r}")
        return [*found, text[start:]] if start is not None else found


class _Pieces:
    """Text, and which of it can't be split: what was quoted or escaped."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, bool]] = []

    def add(self, text: str, *, whole: bool) -> None:
        self._pieces.append((text, whole))

    def joined(self) -> str:
        return "".join(text for text, _ in self._pieces)

    def words(self) -> list[str]:
        found: list[str] = []
        word: str | None = None
        for text, whole in self._pieces:
            if whole:
                word = (word or "") + text
                continue
            for char in text:
                if not char.isspace():
                    word = (word or "") + char
                elif word is not None:
                    found.append(word)
                    word = None
        return found if word is None else [*found, word]


class _Expansion:
    """One pass over a text."""

    def __init__(self, text: str, escape: str, variables: Mapping[str, str], *, quotes: bool = True) -> None:
        self._quotes = quotes
        self._text = text
        self._at = 0
        self._escape = escape
        self._variables = variables
        self._depth = 0

    def all(self) -> _Pieces:
        return self._until("")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _until(self, stop: str, *, keep_escapes: bool = False) -> _Pieces:
        pieces = _Pieces()
        while char := self._next():
            if char == stop:
                return pieces
            if char == "'" and self._quotes:
                pieces.add(self._single_quoted(), whole=True)
            elif char == '"' and self._quotes:
                pieces.add(self._double_quoted(), whole=True)
            elif char == "$":
                pieces.add(self._variable(), whole=False)
            elif char == self._escape:
                # At the very end it stands for nothing.
                following = self._next()
                pieces.add(char + following if keep_escapes else following, whole=True)
            else:
                pieces.add(char, whole=False)
        if stop:
            self._fail(f"{stop} is missing")
        return pieces

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            self._fail("a ' is not closed")
        text = self._text[self._at : end]
        self._at = end + 1
        return text

    def _double_quoted(self) -> str:
        text = ""
        while (char := self._next()) != '"':
            if not char:
                self._fail('a " is not closed')
            if char == "$":
                char = self._variable()
            elif char == self._escape and self._peek() in ('"', "$", self._escape):
                char = self._next()
            text += char
        return text

    def _variable(self) -> str:
        """What stands for `$...`; the dollar has been read."""
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._next()
        self._depth += 1
        value = self._substituted()
        self._depth -= 1
        return value

    def _substituted(self) -> str:
        """What stands for `${...}`; the brace has been read."""
        if self._depth > _DEEPEST:
            self._fail(f"more than {_DEEPEST} substitutions in one another")
        if self._peek() in _BAD_START:
            self._fail("bad substitution")
        name = self._name()
        value = self._variables.get(name)
        operator = self._next()
        if operator == "}":
            return value or ""
        if operator == "/":
            return self._replaced(value or "")
        if operator == ":":
            operator = self._next()
            value = value or None
            if operator not in "-+?" or not operator:
                self._fail(f"unsupported modifier :{operator}; :-, :+ and :? are allowed")
        if operator in ("#", "%"):
            return self._trimmed(value or "", operator)
        if not operator or operator not in "-+?":
            self._fail(f"unsupported modifier {operator!r}" if operator else "} is missing")
        word = self._until("}").joined()
        if operator == "+":
            return word if value is not None else ""
        if operator == "?" and value is None:
            self._fail(f"{name}: {word or 'not allowed to be unset'}")
        return word if value is None else value

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _trimmed(self, value: str, operator: str) -> str:
        longest = self._peek() == operator
        if longest:
            self._next()
        pattern = _shell_pattern(self._until("}", keep_escapes=True).joined(), self._escape)
        if operator == "#":
            cuts = [at for at in range(len(value) + 1) if pattern.fullmatch(value, 0, at)]
            return value[cuts[-1 if longest else 0] :] if cuts else value
        cuts = [at for at in range(len(value) + 1) if pattern.fullmatch(value, at)]
        return value[: cuts[0 if longest else -1]] if cuts else value

    def _replaced(self, value: str) -> str:
        every = self._peek() == "/"
        if every:
            self._next()
        pattern = _shell_pattern(self._until("/", keep_escapes=True).joined(), self._escape)
        replacement = self._until("}").joined()
        end = -1

        def replace(match: re.Match[str]) -> str:
            # As Go has it, which takes no empty match right behind another one.
            nonlocal end
            behind, end = match.start() == end and not match[0], match.end()
            return "" if behind else replacement

        return pattern.sub(replace, value, count=0 if every else 1)

    def _fail(self, what: str) -> NoReturn:
        raise UnfinishedError(f"{what} in {_excerpt(self._text)!r}")


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."


def _shell_pattern(text: str, escape: str) -> re.Pattern[str]:
    """`*` and `?` as a shell has them."""
    out = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == escape and at + 1 < len(text):
            at += 1
            out += re.escape(text[at])
        else:
            out += {"*": ".*", "?": "."}.get(char) or re.escape(char)
        at += 1
    return re.compile(out, re.DOTALL)
