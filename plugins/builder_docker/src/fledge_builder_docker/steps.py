"""The images that the classic builder leaves, one a step and without a name, and the containers that it may leave."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

_STEP: Final = re.compile(r"Step [0-9]+/[0-9]+ : (\S+)")
_MADE: Final = re.compile(r" ---> (?:Running in )?([0-9a-f]{12})")


class ClassicSteps:
    """Reads the log of a build, and names what it made."""

    def __init__(self, there: Collection[str], clean_up: Callable[[str], None], tell: Callable[[str], None]) -> None:
        """`there`: the images and containers that the engine has before, by their short ids.

        A RUN can print what it likes, and must not get anything of the user's removed.
        """
        self._there = there
        self._clean_up = clean_up
        self._tell = tell
        self._base = False

    def line(self, text: str) -> None:
        """One line, which is told on."""
        if step := _STEP.match(text):
            # What follows is the base image, which stays in the engine, or what its triggers (ONBUILD) have made of it.
            self._base = step[1].upper() == "FROM"
        elif text.startswith("# Executing "):
            self._base = False
        elif not self._base and (made := _MADE.fullmatch(text)) and made[1] not in self._there:
            self._clean_up(made[1])
        self._tell(text)
