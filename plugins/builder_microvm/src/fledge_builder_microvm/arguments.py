"""Build arguments: what --build-arg gives, what the Dockerfile declares, and what is there unasked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fledge.config.settings import this_platform
from fledge.values import Platform

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED: Final = frozenset((*_PROXIES, *(name.lower() for name in _PROXIES)))
"""In the environment of RUN without ARG, and neither in the history nor in the key of a cached step."""


def platform_arguments(target: Platform, stage: str) -> Mapping[str, str]:
    """The arguments in the global scope; in a stage they have to be declared ("Automatic platform ARGs")."""
    here = this_platform()
    return {
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.os,
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant or "",
        "TARGETSTAGE": stage,
        "BUILDPLATFORM": str(here),
        "BUILDOS": here.os,
        "BUILDARCH": here.architecture,
        "BUILDVARIANT": here.variant or "",
    }


class Scope:
    """The variables of one stage at one instruction: ENV, and the ARGs that are declared by now."""

    def __init__(self, given: Mapping[str, str], outer: Mapping[str, str]) -> None:
        """`given`: --build-arg. `outer`: the ARGs before the first FROM, and the automatic ones."""
        self.given = given
        self.outer = outer
        self.arguments: dict[str, str] = {}
        self.environ: dict[str, str] = {}

    def child(self) -> Scope:
        """For a stage that is based on this one: it inherits what was declared."""
        scope = Scope(self.given, self.outer)
        scope.arguments = dict(self.arguments)
        scope.environ = dict(self.environ)
        return scope

    def declare(self, name: str, default: str | None) -> None:
        """ARG. Without a value anywhere it is declared and unset."""
        value = self.given.get(name, self.outer.get(name) if default is None else default)
        if value is None:
            self.arguments.pop(name, None)
        else:
            self.arguments[name] = value

    @property
    def variables(self) -> Mapping[str, str]:
        """What is replaced in instructions. ENV wins over ARG ("Using ARG variables")."""
        return {**self.arguments, **self.environ}

    @property
    def proxies(self) -> Mapping[str, str]:
        """The predefined ones that were given and not declared."""
        return {name: value for name, value in self.given.items() if name in PREDEFINED and name not in self.arguments}
