"""The files that the init reads, as README.md describes them; what is written here the init accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

SIZE_MAX: Final = 256 * 1024 - 1
STRINGS_MAX: Final = 4096
HOSTNAME_MAX: Final = 64
MODULES_SIZE_MAX: Final = 16 * 1024 - 1
ID_MAX: Final = 2**32 - 2

_HEADER: Final = b"fledge-workload 1\n"
_OVERLAY_SIZE: Final = re.compile(r"([0-9]+)(?:(%)|([KMGT])(?:i?B)?)?", re.IGNORECASE | re.ASCII)
_SHIFTS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# The numbers of x86 and arm64, whatever machine builds the image. SIGRTMIN is 34 in glibc and in Docker's table.
_SIGNALS: Final = {
    name: number
    for number, names in enumerate(
        [
            "HUP",
            "INT",
            "QUIT",
            "ILL",
            "TRAP",
            "ABRT/IOT",
            "BUS",
            "FPE",
            "KILL",
            "USR1",
            "SEGV",
            "USR2",
            "PIPE",
            "ALRM",
            "TERM",
            "STKFLT",
            "CHLD/CLD",
            "CONT",
            "STOP",
            "TSTP",
            "TTIN",
            "TTOU",
            "URG",
            "XCPU",
            "XFSZ",
            "VTALRM",
            "PROF",
            "WINCH",
            "IO/POLL",
            "PWR",
            "SYS",
        ],
        start=1,
    )
    for name in names.split("/")
}


@dataclass(frozen=True, slots=True)
class Workload:
    """What runs in the machine: a program that process 1 becomes, or an entrypoint that the init looks after.

    `entrypoint`: its arguments too; looked up in PATH when it has no slash. `env`: variables; PATH and HOME get the
    usual defaults when they are not in it. `workdir`: absolute, created when missing. `user`: `name`, `uid`,
    `name:group` or `uid:gid`, looked up in the guest. `handover`: the absolute path of an agent or of another init.
    `overlay_size`: of the writable layer over a read-only root: bytes, K, M, G, T or a percentage of the memory.
    `stop_signal`: the number that a stop request is passed on as, SIGTERM when None.
    Raises ValueError for anything that the init would refuse.
    """

    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    workdir: str | None = None
    user: str | None = None
    handover: str | None = None
    hostname: str | None = None
    overlay_size: str | None = None
    stop_signal: int | None = None

    def __post_init__(self) -> None:
        if not self.entrypoint and self.handover is None:
            raise ValueError("a workload needs an entrypoint or a program to hand over to")
        if self.entrypoint and not self.entrypoint[0]:
            raise ValueError("the first word of an entrypoint can't be empty")
        for name, path in (("workdir", self.workdir), ("handover", self.handover)):
            if path is not None and not path.startswith("/"):
                raise ValueError(f"{name} {path!r} is not an absolute path")
        for name in self.env:
            if not name or "=" in name:
                raise ValueError(f"malformed name of an environment variable {name!r}; it can't be empty or hold '='")
        if self.user is not None:
            parse_user(self.user)
        if self.hostname is not None and not 0 < len(encode(self.hostname)) <= HOSTNAME_MAX:
            raise ValueError(f"hostname {self.hostname!r} is empty or over {HOSTNAME_MAX} bytes")
        if self.overlay_size is not None:
            check_overlay_size(self.overlay_size)
        if self.stop_signal is not None and not 1 <= self.stop_signal <= 64:
            raise ValueError(f"stop signal {self.stop_signal} is not between 1 and 64")
        for what, strings in (("arguments", self.entrypoint), ("environment variables", self.env)):
            if len(strings) > STRINGS_MAX:
                raise ValueError(f"{len(strings)} {what}; the guest init takes at most {STRINGS_MAX}")
        self.render()

    def render(self) -> bytes:
        """The content of `/.fledge/workload`; equal workloads give the same bytes."""
        pairs = [("arg", word) for word in self.entrypoint]
        pairs += [("env", f"{name}={value}") for name, value in self.env.items()]
        pairs += [
            (key, str(value))
            for key, value in (
                ("handover", self.handover),
                ("hostname", self.hostname),
                ("overlay_size", self.overlay_size),
                ("stop_signal", self.stop_signal),
                ("user", self.user),
                ("workdir", self.workdir),
            )
            if value is not None
        ]
        for key, value in pairs:
            if "\0" in value:
                raise ValueError(f"{key} {value!r} has a NUL byte, which no argument, variable or path can hold")
        data = _HEADER + b"".join(b"%s=%s\0" % (key.encode(), encode(value)) for key, value in pairs)
        if len(data) > SIZE_MAX:
            raise ValueError(f"the workload takes {len(data)} bytes; the guest init reads at most {SIZE_MAX}")
        return data


def encode(text: str) -> bytes:
    """The bytes of a path or an argument."""
    # Paths and arguments of an image may be any bytes; they come decoded with surrogateescape.
    return text.encode("utf-8", "surrogateescape")


def check_overlay_size(text: str) -> None:
    """Raises ValueError for anything but bytes, a number with K, M, G or T (powers of 1024), or 1% to 100%."""
    match = _OVERLAY_SIZE.fullmatch(text)
    if match is not None:
        number = int(match[1])
        if 0 < number <= 100 if match[2] else 0 < number << _SHIFTS[(match[3] or "").upper()] < 2**63:
            return
    raise ValueError(f"malformed overlay size {text!r}; expected bytes, K, M, G or T such as 512M, or 1% to 100%")


def parse_user(text: str) -> tuple[str, str | None]:
    """The user and the group of image-spec config.md's User; names stay names, the guest looks them up.

    Raises ValueError for an empty part and for a number that is not a uid.
    """
    user, colon, group = text.partition(":")
    for part in (user, group) if colon else (user,):
        if not part or ":" in part:
            raise ValueError(f"malformed user {text!r}; expected name, uid, name:group or uid:gid")
        if part.isascii() and part.isdigit() and int(part) > ID_MAX:
            raise ValueError(f"user {text!r}: {part} is over {ID_MAX}")
    return user, group if colon else None


def stop_signal(text: str) -> int:
    """The number of an image config's StopSignal: `SIGQUIT`, `QUIT`, `SIGRTMIN+3` or a number. Raises ValueError."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name in _SIGNALS:
        return _SIGNALS[name]
    match = re.fullmatch(r"RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?", name)
    if match is not None:
        offset = int(match[3] or 0) * (-1 if match[2] == "-" else 1)
        number = (34 if match[1] == "MIN" else 64) + offset
        if 34 <= number <= 64:
            return number
    raise ValueError(f"unknown signal {text!r}; expected a name such as SIGTERM or SIGRTMIN+3, or 1 to 64")


def render_modules(entries: Iterable[str]) -> bytes:
    """The content of `/.fledge/modules`: paths of .ko files and names of modules, loaded in this order.

    Raises ValueError for an entry that is empty or has white space, and when the list is over 16 KiB.
    """
    lines = list(entries)
    for line in lines:
        if not line or line.startswith("#") or any(c.isspace() or c == "\0" for c in line):
            raise ValueError(f"malformed module {line!r}; expected a name or the absolute path of a .ko file")
    data = b"".join(encode(line) + b"\n" for line in lines)
    if len(data) > MODULES_SIZE_MAX:
        raise ValueError(
            f"the list of modules takes {len(data)} bytes; the guest init reads at most {MODULES_SIZE_MAX}"
        )
    return data
