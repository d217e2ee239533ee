"""Every error that a user can cause or meet, and the exit code that goes with it.

An expected error is printed as one line (what, where, which value, what is allowed) and a hint.
Anything else that is raised is a bug and traces back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class FledgeError(Exception):
    """An expected error: a lowercase message without a trailing full stop, and perhaps a hint."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None, transcript: Sequence[str] = ()) -> None:
        """`transcript`: the last lines of what a guest or a program said before."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.transcript = tuple(transcript)


class BuildError(FledgeError):
    """The build failed: a source could not be fetched, a layer is corrupt, a format can't hold an inode."""


class UsageError(FledgeError):
    """The command line or a config file asks for something that can't be (exit code 2)."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a config file."""

    file: str
    key: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}: " if self.key else f"{self.file}: "
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


class ConfigError(UsageError):
    """All problems of the config files together, so that one run is enough to mend them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
