"""What the init says on the console, for whoever watches a machine from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

EventKind = Literal["started", "handed over", "exited", "killed", "error", "warning", "trace"]

# The workload's last line may lack its newline, so that the init's begins in the middle of one.
_EVENT: Final = re.compile(
    r"fledge: (?:"
    r"(?P<started>workload started)"
    r"|handing over to (?P<handed_over>.+)"
    r"|workload exited with (?P<exited>[0-9]{1,3})"
    r"|workload killed by signal (?P<killed>[0-9]{1,2})"
    r"|error: (?P<error>.+)"
    r"|warning: (?P<warning>.+)"
    r"|trace (?P<trace>.+)"
    r")\r*\Z"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the init. `text`: the program, the message or the trace; `number`: the exit status or the signal."""

    kind: EventKind
    text: str = ""
    number: int | None = None


def parse_event(line: str) -> Event | None:
    """What a line of the console, without its newline, says of the init; None for everybody else's lines.

    The workload can write such lines too: of "exited" and "killed" only the last one counts, which the init writes when
    no other process is left.
    """
    match = _EVENT.search(line)
    if match is None:
        return None
    group = str(match.lastgroup)
    text = match[group]
    match group:
        case "started":
            return Event("started")
        case "handed_over":
            return Event("handed over", text)
        case "exited":
            return Event("exited", number=int(text))
        case "killed":
            return Event("killed", number=int(text))
        case "error":
            return Event("error", text)
        case "warning":
            return Event("warning", text)
        case _:
            return Event("trace", text)
