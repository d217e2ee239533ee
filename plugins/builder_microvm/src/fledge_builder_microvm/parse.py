"""Lines to instructions (docs.docker.com/reference/dockerfile). What is not known is an error with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NoReturn

from fledge.errors import BuildError

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.digits import whole_number
from fledge_builder_microvm.lines import Line, Lines, heredoc_start, json_list, read_lines, with_heredocs
from fledge_builder_microvm.words import UnfinishedError, Words

_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*")
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_HEALTH_DURATIONS: Final = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_LEAST_DURATION: Final = 10**6
_MOST_DURATION: Final = (1 << 63) - 1
"""Go's, 292 years."""
_MOST_RETRIES: Final = (1 << 31) - 1

Flags = Mapping[str, Sequence[str]]


def parse_lines(lines: Lines) -> tuple[ins.Instruction, ...]:
    """The instructions of a Dockerfile. Raises BuildError for the first mistake."""
    return tuple(_Parser(line, lines.escape).instruction() for line in lines.lines)


def parse_trigger(trigger: str, place: str, escape: str = "\\") -> ins.Instruction:
    """An ONBUILD trigger out of an image's config. Raises BuildError."""
    lines = read_lines(trigger, place)
    if len(lines.lines) != 1:
        raise BuildError(f"{place}: the ONBUILD trigger {trigger!r} is not one instruction")
    line = Line(place, lines.lines[0].keyword, lines.lines[0].rest, lines.lines[0].heredocs)
    return _Parser(line, escape).instruction()


class _Parser:
    """Parses one line."""

    def __init__(self, line: Line, escape: str) -> None:
        self._line = line
        self._words = Words(escape)
        self._escape = escape
        self._rest = line.rest

    def instruction(self) -> ins.Instruction:
        keyword = self._line.keyword
        method = _METHODS.get(keyword)
        if method is None:
            near = get_close_matches(keyword, _METHODS, n=1)
            raise BuildError(
                f"{self._line.place}: unknown instruction {keyword}; allowed: {', '.join(_METHODS)}",
                hint=f"did you mean {near[0]}?" if near else None,
            )
        if not self._rest:
            self._fail("nothing follows it")
        try:
            return method(self)
        except UnfinishedError as error:
            self._fail(str(error))

    def _fail(self, what: str, hint: str | None = None) -> NoReturn:
        raise BuildError(f"{self._line.place}: {self._line.keyword}: {what}", hint=hint)

    # What several have

    def _flags(self, *allowed: str, refused: Mapping[str, str] | None = None) -> Flags:
        """Takes the `--name=value` in front off the line."""
        found: dict[str, list[str]] = {}
        while self._rest.startswith("--"):
            word, self._rest = self._first_word(self._rest)
            if word == "--":
                break
            name, equals, value = word[2:].partition("=")
            if name in (refused or {}):
                self._fail(f"--{name} is not supported: {(refused or {})[name]}")
            if name not in allowed:
                there = f"; allowed: {', '.join(f'--{one}' for one in allowed)}" if allowed else "; it takes none"
                self._fail(f"unknown flag --{name}{there}")
            if name in found and name not in _REPEATED:
                self._fail(f"--{name} is there twice")
            if name in _SWITCHES:
                if value not in ("", "true", "false"):
                    self._fail(f"--{name}={value}; true and false are allowed")
                value = value or "true"
            elif not equals or not value:
                self._fail(f"--{name} has no value; expected --{name}=VALUE")
            found.setdefault(name, []).append(value)
        return found

    def _first_word(self, text: str) -> tuple[str, str]:
        """The first word, its quotes and escapes removed, and what follows it."""
        word, quote, at = "", "", 0
        while at < len(text) and (quote or not text[at].isspace()):
            char = text[at]
            if char == self._escape and at + 1 < len(text) and quote != "'":
                at += 1
                # A dollar stays escaped: variables in flags are replaced later.
                word += char + text[at] if text[at] == "$" else text[at]
            elif quote and char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            else:
                word += char
            at += 1
        return word, text[at:].lstrip()

    def _json(self) -> tuple[str, ...] | None:
        """The line as a JSON list of strings; None where it is something else, which then is the shell form."""
        value = json_list(self._rest)
        if value is None:
            return None
        if not all(isinstance(one, str) for one in value):
            self._fail("the exec form is a list of strings in double quotes")
        return tuple(value)

    def _command(self) -> ins.Command:
        argv = self._json()
        return ins.Command(shell=self._rest) if argv is None else ins.Command(argv)

    def _list(self) -> tuple[str, ...]:
        listed = self._json()
        return tuple(self._rest.split()) if listed is None else listed

    def _pairs(self) -> ins.Pairs:
        words = self._words.split_raw(self._rest)
        if "=" not in words[0]:
            # The form without an equals sign: one name, and all that follows it.
            name, *value = self._rest.split(None, 1)
            if not value:
                self._fail(f"{name} has no value; expected {name}=VALUE")
            return ((name, value[0]),)
        pairs = [tuple(word.split("=", 1)) for word in words]
        for pair in pairs:
            if len(pair) == 1:
                self._fail(f"{pair[0]!r} is not NAME=VALUE")
            if not pair[0]:
                self._fail(f"a name is missing before ={pair[1]}")
        return tuple((pair[0], pair[1]) for pair in pairs)

    # One for each instruction

    def _from(self) -> ins.Instruction:
        flags = self._flags("platform")
        words = self._rest.split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            self._fail(f"{self._rest!r}; expected IMAGE or IMAGE AS NAME")
        name = words[2].lower() if len(words) == 3 else None
        if name is not None and not _STAGE_NAME.fullmatch(name):
            self._fail(
                f"the stage name {words[2]!r}; a letter comes first, then letters, digits, - _ and . are allowed"
            )
        return ins.From(*self._common(), words[0], _one(flags, "platform"), name)

    def _arg(self) -> ins.Instruction:
        pairs: list[tuple[str, str | None]] = []
        for word in self._words.split_raw(self._rest):
            name, equals, value = word.partition("=")
            if not name:
                self._fail(f"a name is missing before ={value}")
            pairs.append((name, value if equals else None))
        return ins.Arg(*self._common(), tuple(pairs))

    def _env(self) -> ins.Instruction:
        return ins.Env(*self._common(), self._pairs())

    def _label(self) -> ins.Instruction:
        return ins.Label(*self._common(), self._pairs())

    def _copy(self) -> ins.Instruction:
        is_add = self._line.keyword == "ADD"
        if is_add:
            flags = self._flags(
                "chown", "chmod", "link", "checksum", "exclude", refused={"keep-git-dir": _NO_GIT, "unpack": _NO_UNPACK}
            )
        else:
            flags = self._flags("from", "chown", "chmod", "link", "exclude", refused={"parents": _NO_PARENTS})
        words = self._list()
        if len(words) < 2:
            self._fail(f"{self._rest!r}; expected a source and a destination")
        *sources, destination = words
        heredocs = {heredoc.name: heredoc for heredoc in self._line.heredocs}
        inline = []
        plain = []
        for source in sources:
            start = heredoc_start(source)
            if start is not None and start[0] in heredocs:
                inline.append(heredocs[start[0]])
            else:
                plain.append(source)
        if inline and "from" in flags:
            self._fail("a heredoc is not in what --from names")
        return ins.Copy(
            *self._common(),
            is_add=is_add,
            sources=tuple(plain),
            destination=destination,
            heredocs=tuple(inline),
            origin=_one(flags, "from"),
            owner=_one(flags, "chown"),
            mode=_one(flags, "chmod"),
            checksum=_one(flags, "checksum"),
            exclude=tuple(flags.get("exclude", ())),
        )

    def _run(self) -> ins.Instruction:
        flags = self._flags("mount", "network", refused={"security": _NO_SECURITY, "device": _NO_DEVICE})
        network = _one(flags, "network") or "default"
        if network not in ("default", "none"):
            self._fail(f"--network={network}; default and none are allowed")
        if not self._rest:
            self._fail("nothing follows it")
        mounts = tuple(self._mount(text) for text in flags.get("mount", ()))
        command = self._command()
        if command.shell is None and not command.argv:
            self._fail("the exec form is empty")
        return ins.Run(*self._common(), command, self._line.heredocs, mounts, network)

    def _mount(self, text: str) -> Mapping[str, str]:
        """`type=cache,target=/x`: comma-separated as CSV is, names in any case."""
        import csv

        keys: dict[str, str] = {}
        try:
            fields = next(csv.reader([text]))
        except csv.Error as error:
            self._fail(f"--mount={text!r} is not comma-separated: {error}")
        for field in fields:
            name, equals, value = field.partition("=")
            keys[name.strip().lower()] = value if equals else "true"
        return keys

    def _workdir(self) -> ins.Instruction:
        return ins.Workdir(*self._common(), self._rest)

    def _user(self) -> ins.Instruction:
        return ins.User(*self._common(), self._rest)

    def _shell(self) -> ins.Instruction:
        argv = self._json()
        if not argv:
            self._fail(f'{self._rest!r}; expected a list such as ["/bin/sh", "-c"]')
        return ins.Shell(*self._common(), argv)

    def _cmd(self) -> ins.Instruction:
        return ins.Cmd(*self._common(), self._command())

    def _entrypoint(self) -> ins.Instruction:
        return ins.Entrypoint(*self._common(), self._command())

    def _expose(self) -> ins.Instruction:
        return ins.Expose(*self._common(), tuple(self._rest.split()))

    def _volume(self) -> ins.Instruction:
        paths = self._list()
        if not paths or not all(path.strip() for path in paths):
            self._fail(f"{self._rest!r}; a path can't be empty")
        return ins.Volume(*self._common(), paths)

    def _healthcheck(self) -> ins.Instruction:
        flags = self._flags(*_HEALTH_DURATIONS, "retries")
        kind, *rest = self._rest.split(None, 1) or ("",)
        self._rest = rest[0].strip() if rest else ""
        if kind.upper() == "NONE":
            if self._rest or flags:
                self._fail("NONE takes nothing beside it")
            return ins.Healthcheck(*self._common(), None, {}, None)
        if kind.upper() != "CMD" or not self._rest:
            self._fail(f"{self._line.rest!r}; expected NONE or CMD and a command")
        durations = {
            _HEALTH_DURATIONS[name]: self._duration(name, values[0])
            for name, values in flags.items()
            if name != "retries"
        }
        retries = _one(flags, "retries")
        number = None if retries is None else whole_number(retries, _MOST_RETRIES)
        if retries is not None and number is None:
            self._fail(f"--retries={retries} is not a number up to {_MOST_RETRIES}")
        return ins.Healthcheck(*self._common(), self._command(), durations, number)

    def _duration(self, name: str, text: str) -> int:
        """Nanoseconds of a duration as Go writes it: 1m30s."""
        parts = _DURATION.findall(text)
        if text != "0" and "".join(number + unit for number, unit in parts) != text:
            self._fail(f"--{name}={text} is not a duration such as 30s or 1m30s")
        exact = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if exact > _MOST_DURATION:
            self._fail(f"--{name}={text} is more than 292 years")
        value = round(exact)
        if 0 < value < _LEAST_DURATION:
            self._fail(f"--{name}={text}; at least 1ms, or 0 for the default")
        return value

    def _stopsignal(self) -> ins.Instruction:
        return ins.StopSignal(*self._common(), self._rest)

    def _maintainer(self) -> ins.Instruction:
        return ins.Maintainer(*self._common(), self._rest)

    def _onbuild(self) -> ins.Instruction:
        keyword = self._rest.split()[0].upper()
        if keyword in ("ONBUILD", "FROM", "MAINTAINER") or keyword not in _METHODS:
            self._fail(f"{keyword} can't be a trigger")
        return ins.Onbuild(*self._common(), with_heredocs(self._rest, self._line.heredocs))

    def _common(self) -> tuple[str, str]:
        return self._line.place, self._line.text


_REPEATED: Final = ("mount", "exclude")
_SWITCHES: Final = ("link", "keep-git-dir", "unpack", "parents")
_NO_GIT: Final = "git repositories can't be added"
_NO_UNPACK: Final = "archives of the context are extracted, downloads are not"
_NO_PARENTS: Final = "name the folders in the destination"
_NO_SECURITY: Final = "a step is root in its own machine anyway"
_NO_DEVICE: Final = "a step's machine has no devices of the host"

_METHODS: Final[Mapping[str, Callable[[_Parser], ins.Instruction]]] = {
    "ADD": _Parser._copy,
    "ARG": _Parser._arg,
    "CMD": _Parser._cmd,
    "COPY": _Parser._copy,
    "ENTRYPOINT": _Parser._entrypoint,
    "ENV": _Parser._env,
    "EXPOSE": _Parser._expose,
    "FROM": _Parser._from,
    "HEALTHCHECK": _Parser._healthcheck,
    "LABEL": _Parser._label,
    "MAINTAINER": _Parser._maintainer,
    "ONBUILD": _Parser._onbuild,
    "RUN": _Parser._run,
    "SHELL": _Parser._shell,
    "STOPSIGNAL": _Parser._stopsignal,
    "USER": _Parser._user,
    "VOLUME": _Parser._volume,
    "WORKDIR": _Parser._workdir,
}


def _one(flags: Flags, name: str) -> str | None:
    values = flags.get(name)
    return values[0] if values else None
