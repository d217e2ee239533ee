"""Docker's reference grammar: `[host[:port]/]path[:tag][@digest]` (distribution/reference)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from fledge.errors import UsageError
from fledge.values import Digest

DOCKER_HUB: Final = "docker.io"
_HUB_ENDPOINT: Final = "registry-1.docker.io"
_HUB_NAMES: Final = frozenset({"docker.io", "index.docker.io", _HUB_ENDPOINT})

_HOST: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PATH_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """An image in a registry. With a digest, the tag says nothing any more."""

    host: str
    """`docker.io`, `ghcr.io`, `localhost:5000`; as credentials and certificates are filed under."""
    repository: str
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> RegistryReference:
        """`text`: with or without the leading `//`. Raises UsageError."""
        text = text.removeprefix("//")
        rest, at, digest_text = text.partition("@")
        first, slash, path = rest.partition("/")
        # What comes first is a host when a repository's name could not look like it.
        if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            first, path = DOCKER_HUB, rest
        path, _, tag = path.partition(":")
        try:
            digest = Digest.parse(digest_text) if at else None
        except ValueError as error:
            raise UsageError(f"malformed image reference {text!r}: {error}") from None
        if (port := _HOST.fullmatch(first)) is None or (port[1] and not 1 <= int(port[1]) <= 65535):
            raise UsageError(f"malformed image reference {text!r}: {first!r} is not a host with or without a port")
        if first.lower() in _HUB_NAMES:
            first = DOCKER_HUB
            path = path if "/" in path else f"library/{path}"
        if _PATH.fullmatch(path) is None or len(path) > _PATH_MAX:
            allowed = "a path of lowercase letters and digits, separated by . _ - and /"
            hint = "repository names are lowercase" if _PATH.fullmatch(path.lower()) else None
            raise UsageError(f"malformed image reference {text!r}: {path!r} is not {allowed}", hint=hint)
        if ":" in rest.rpartition("/")[2] and _TAG.fullmatch(tag) is None:
            raise UsageError(
                f"malformed image reference {text!r}: {tag!r} is not a tag: letters, digits and . _ -, at most 128"
            )
        return cls(first.lower(), path, tag or (None if digest else "latest"), digest)

    @property
    def endpoint(self) -> str:
        """The host and port to connect to."""
        return _HUB_ENDPOINT if self.host == DOCKER_HUB else self.host

    @property
    def name(self) -> str:
        """The host without its port."""
        return re.sub(r":[0-9]+$", "", self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine, by its name alone."""
        if self.name == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.name.strip("[]")).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"
