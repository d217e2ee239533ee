"""Two kinds of pattern: Go's filepath.Match for sources of COPY and ADD, and those of .dockerignore."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Self

_MAGIC: Final = re.compile(r"[*?\[\\]")


def has_magic(text: str) -> bool:
    """Whether anything in it means something to `match_name`."""
    return _MAGIC.search(text) is not None


def match_name(pattern: str) -> Callable[[bytes], bool]:
    """Whether one component of a path matches, as Go's filepath.Match has it. Raises ValueError for a malformed pattern.

    `*` and `?`, `[a-z]`, `[^a-z]`, and a backslash before what is meant itself; unlike a shell's, `*` matches a name that
    begins with a dot, and `[!a]` is the characters `!` and `a`.
    """
    out = ""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            group, at = _group(pattern, at)
            out += group
        elif char == "\\":
            if at == len(pattern):
                raise ValueError(f"malformed pattern {pattern!r}: it ends with a backslash")
            out += re.escape(pattern[at])
            at += 1
        else:
            out += re.escape(char)
    regex = re.compile(out, re.DOTALL)
    # Decoded: a `?` is a character of a name, not a byte.
    return lambda name: regex.fullmatch(os.fsdecode(name)) is not None


def _group(pattern: str, at: int) -> tuple[str, int]:
    """A character class after its bracket, and where it ends."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _group_character(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _group_character(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # Go takes such a range for one that nothing is in.
    inside = "".join(ranges)
    if not inside:
        return ("[^/]" if negated else "(?!)"), at + 1
    return f"[{'^/' if negated else ''}{inside}]", at + 1


def _group_character(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at : at + 1]
    if char == "\\":
        at += 1
        char = pattern[at : at + 1]
    elif char in ("-", "]"):
        char = ""
    if not char:
        raise ValueError(f"malformed pattern {pattern!r}: a character class is not closed")
    return char, at + 1


@dataclass(frozen=True, slots=True)
class _Rule:
    regex: re.Pattern[str]
    keeps: bool
    """`!`: what matches is not ignored after all."""
    folders: tuple[re.Pattern[str], ...]
    """One for each component above what it can match, up to the first `**`."""
    any_depth: bool
    """Whether it has a `**`."""

    def may_match_below(self, path: str) -> bool:
        """Whether anything below the folder `path` can match; True also where that would take more to find out."""
        parts = path.split("/")
        deep_enough = self.any_depth or len(self.folders) >= len(parts)
        return deep_enough and all(folder.fullmatch(part) for folder, part in zip(self.folders, parts, strict=False))


def _rule(pattern: str, keeps: bool) -> _Rule:
    components = pattern.split("/")
    plain = list(takewhile(lambda component: "**" not in component, components))
    any_depth = len(plain) < len(components)
    folders = [re.compile(_ignore_regex(one), re.DOTALL) for one in (plain if any_depth else plain[:-1])]
    return _Rule(re.compile(_ignore_regex(pattern), re.DOTALL), keeps, tuple(folders), any_depth)


class IgnoreRules:
    """The rules of a .dockerignore, or of COPY --exclude (docs.docker.com/build/concepts/context, ".dockerignore files").

    The last rule that matches a path, or a folder above it, decides.
    """

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._rules = tuple(rules)
        self._exceptions = tuple(rule for rule in rules if rule.keeps)

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """A .dockerignore's text. Raises ValueError, which begins with `where`, for a malformed pattern."""
        patterns = []
        for row in text.removeprefix("\ufeff").split("\n"):
            row = row.rstrip("\r")
            if not row.startswith("#") and row.strip():
                patterns.append(row.strip())
        return cls.of(patterns, where)

    @classmethod
    def of(cls, patterns: Sequence[str], where: str) -> Self:
        """Patterns, each perhaps with a `!`. Raises ValueError, which begins with `where`."""
        rules = []
        for text in patterns:
            keeps = text.startswith("!")
            pattern = text[1:].strip() if keeps else text
            if not pattern:
                raise ValueError(f"{where}: nothing follows the ! of a pattern")
            # Go's filepath.Clean, and then a path that is relative to the context.
            pattern = posixpath.normpath(pattern)
            pattern = "/" + pattern.lstrip("/") if pattern.startswith("//") else pattern
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
            try:
                match_name(pattern)
                rules.append(_rule(pattern, keeps))
            except (ValueError, re.error):
                raise ValueError(f"{where}: malformed pattern {text!r}") from None
        return cls(rules)

    def matches(self, path: str, above: Sequence[bool]) -> tuple[bool, ...]:
        """Which rules match `path` or what is above it; `above`: the same of its folder, empty at the top."""
        if not self._rules:
            return ()
        if above:
            return tuple(
                known or rule.regex.fullmatch(path) is not None for known, rule in zip(above, self._rules, strict=True)
            )
        return tuple(rule.regex.fullmatch(path) is not None for rule in self._rules)

    def ignores(self, matches: Sequence[bool]) -> bool:
        """Whether a path with these matches is left out."""
        ignored = False
        for rule, matched in zip(self._rules, matches, strict=True):
            if matched:
                ignored = not rule.keeps
        return ignored

    def may_keep_below(self, path: str) -> bool:
        """Whether a rule can keep something below the ignored folder `path`, so that it has to be looked into."""
        return any(rule.may_match_below(path) for rule in self._exceptions)


def _ignore_regex(pattern: str) -> str:
    """moby/patternmatcher's translation: `**` is any number of folders.

    `**` in front of nothing but plain text is any beginning: `**.md` is all that ends so.
    """
    if pattern.startswith("**") and not pattern.startswith("**/") and not has_magic(pattern[2:]):
        return ".*" + re.escape(pattern[2:])
    out = ""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if pattern[at : at + 1] != "*":
                out += "[^/]*"
                continue
            at += 1
            at += pattern[at : at + 1] == "/"
            out += "(.*/)?" if at < len(pattern) else ".*"
        elif char == "?":
            out += "[^/]"
        elif char == "\\":
            out += re.escape(pattern[at : at + 1]) if at < len(pattern) else r"\\"
            at += 1
        elif char == "[":
            group, at = _group(pattern, at)
            out += group
        else:
            out += re.escape(char)
    return out
