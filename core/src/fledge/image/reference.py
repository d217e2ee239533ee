"""Image references: which transport, and which ones to ask for a bare reference (spec section 2)."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from typing import Final

from fledge.errors import UsageError
from fledge.sources import ImageReference

REGISTRY: Final = "docker"
DAEMON: Final = "docker-daemon"
DAEMON_SOCKET: Final = "/var/run/docker.sock"
"""Where the Docker daemon listens when nothing else is said."""

_RESERVED: Final = frozenset(
    {
        "docker", "docker-daemon", "docker-archive", "oci", "oci-archive",
        "containers-storage", "dir", "ostree", "sif", "tarball",
    }
)  # fmt: skip
"""The names that containers/image gives a meaning (containers-transports(5)), whether a plugin has them or not."""


def parse_reference(text: str, installed: Collection[str] = ()) -> ImageReference:
    """`transport:name`; a bare reference is one of a registry.

    `installed`: names of transports that mean one beside those of containers/image. Any other word before a colon is
    a host or repository (`localhost:5000/x:tag`, `nginx:alpine`), unless `://` follows. That the transport is
    installed is not checked. Raises UsageError.
    """
    transport, colon, name = text.partition(":")
    if not colon or not (transport in _RESERVED or transport in installed or name.startswith("//")):
        transport, name = REGISTRY, f"//{text}"
    if not text or text != text.strip() or not text.isprintable():
        raise UsageError(f"malformed image reference {text!r}; expected one such as nginx:alpine or oci:./layout:tag")
    if transport == REGISTRY and not name.startswith("//"):
        raise UsageError(
            f"malformed image reference {text!r}; expected docker://{name}", hint="a registry needs the //"
        )
    if not name.removeprefix("//"):
        raise UsageError(f"malformed image reference {text!r}; nothing follows {transport}:")
    return ImageReference(transport, name)


def candidates(text: str, environ: Mapping[str, str], installed: Collection[str]) -> tuple[ImageReference, ...]:
    """The references to try in this order: the first transport that does not raise ImageNotFoundError serves it.

    One, except for a bare reference where a Docker daemon may have the image. Raises UsageError.
    """
    reference = parse_reference(text, installed)
    bare = reference.transport == REGISTRY and not text.startswith(f"{REGISTRY}:")
    if bare and DAEMON in installed and (environ.get("DOCKER_HOST") or _answers(DAEMON_SOCKET)):
        return ImageReference(DAEMON, text), reference
    return (reference,)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.2)
        try:
            connection.connect(path)
        except OSError:
            return False
    return True
