"""Build arguments: what --build-arg gives, what the Dockerfile declares, and what is there unasked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fledge.config.settings import this_platform
from fledge.sources import DockerfileRequest

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED: Final = frozenset((*_PROXIES, *(name.lower() for name in _PROXIES)))
"""In the environment of RUN without ARG, and neither in the history nor in the key of a cached step."""


def automatic_arguments(request: DockerfileRequest, last_stage: str | None) -> Mapping[str, str]:
    """The global scope's own; in a stage they have to be declared ("Automatic platform ARGs"). --build-arg replaces them.

    `last_stage`: the name of the Dockerfile's, if it has one.
    """
    here, target = this_platform(), request.platform
    values = {
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.os,
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant or "",
        "TARGETSTAGE": request.target or last_stage or "default",
        "BUILDPLATFORM": str(here),
        "BUILDOS": here.os,
        "BUILDARCH": here.architecture,
        "BUILDVARIANT": here.variant or "",
    }
    return {name: request.build_args.get(name, value) for name, value in values.items()}


class Scope:
    """The variables of one stage at one instruction: ENV, and the ARGs that are declared by now.

    Of an ENV and an ARG with one name the later one stands, as BuildKit has it: the reference's "ENV always overrides" is
    about an ARG that comes first.
    """

    def __init__(self, given: Mapping[str, str], outer: Mapping[str, str], environ: Mapping[str, str]) -> None:
        """`given`: --build-arg. `outer`: the ARGs before the first FROM, and the automatic ones. `environ`: the base's."""
        self._given = given
        self._outer = outer
        self._variables = dict(environ)
        self.declared: set[str] = set()

    def child(self) -> Scope:
        """For a stage that is based on this one: it inherits what was declared."""
        scope = Scope(self._given, self._outer, self._variables)
        scope.declared = set(self.declared)
        return scope

    def declare(self, name: str, default: str | None) -> None:
        """ARG. Without a value anywhere it changes nothing."""
        self.declared.add(name)
        value = self._given.get(name, self._outer.get(name) if default is None else default)
        if value is not None:
            self._variables[name] = value

    def set(self, name: str, value: str) -> None:
        """ENV."""
        self._variables[name] = value

    @property
    def variables(self) -> Mapping[str, str]:
        """What is replaced in instructions, and what RUN finds in its environment."""
        return self._variables

    @property
    def proxies(self) -> Mapping[str, str]:
        """The predefined ones that were given and not declared."""
        return {name: value for name, value in self._given.items() if name in PREDEFINED - self.declared}
