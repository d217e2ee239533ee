"""The Docker Engine API, as far as images need it, over the daemon's socket.

On http.client, because urllib3 and requests know no unix sockets and take several times as long to import.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.image.fields import Fields, load_object
from fledge.image.reference import DAEMON_SOCKET

CHUNK: Final = 1 << 20
CONNECT_TIMEOUT: Final = 5.0
EXPORT_TIMEOUT: Final = 1800.0
"""Seconds; before its first byte, an export may write the whole image to the daemon's disk."""
_TLS_PORT: Final = 2376
_PORT: Final = 2375


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker daemon. `host`: as DOCKER_HOST, `unix://PATH` or `tcp://HOST[:PORT]`."""

    host: str
    certificates: Path | None = None
    """The folder with ca.pem, cert.pem and key.pem where the daemon wants TLS."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Engine:
        """DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, as the docker command reads them."""
        folder = None
        if environ.get("DOCKER_TLS_VERIFY"):
            home = Path(environ.get("HOME") or "~").expanduser()
            folder = Path(environ.get("DOCKER_CERT_PATH") or home / ".docker")
        return cls(environ.get("DOCKER_HOST") or f"unix://{DAEMON_SOCKET}", folder)

    def inspect(self, name: str) -> Fields:
        """What the daemon knows of an image. Raises ImageNotFoundError."""
        with self._get(f"/images/{quote(name, safe='/:@')}/json", name) as response:
            return load_object(response.read(), f"the Docker daemon's answer about {name}")

    def export(self, name: str) -> Iterator[bytes]:
        """The image as `docker save` gives it, in chunks. Raises ImageNotFoundError."""
        with self._get(f"/images/{quote(name, safe='/:@')}/get", name, EXPORT_TIMEOUT) as response:
            while chunk := response.read(CHUNK):
                yield chunk

    @contextmanager
    def _get(self, path: str, name: str, timeout: float = 60.0) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            # Not fatal for a bare reference, for which the registry is asked next.
            raise ImageNotFoundError(
                f"no Docker daemon answers at {self.host}: {error.strerror or error}",
                hint="start it, or set DOCKER_HOST",
            ) from error
        try:
            connection.sock.settimeout(timeout)
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status == 404:
                raise ImageNotFoundError(f"the Docker daemon at {self.host} has no image {name!r}")
            if response.status != 200:
                said = " ".join(response.read(4096).decode("utf-8", "replace").split())
                raise BuildError(
                    f"the Docker daemon at {self.host} answered {response.status} for {name}: {said[:300]}"
                )
            yield response
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(error) or type(error).__name__
            raise BuildError(f"the Docker daemon at {self.host} broke off at {name}: {reason}") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.host)
        if parts.scheme == "unix" and parts.path:
            return _UnixConnection(parts.path)
        if parts.scheme == "tcp" and parts.hostname:
            if self.certificates is None:
                return http.client.HTTPConnection(parts.hostname, parts.port or _PORT, timeout=CONNECT_TIMEOUT)
            return http.client.HTTPSConnection(
                parts.hostname, parts.port or _TLS_PORT, timeout=CONNECT_TIMEOUT, context=self._tls(self.certificates)
            )
        raise ImageNotFoundError(f"DOCKER_HOST is {self.host!r}; unix://PATH and tcp://HOST[:PORT] are supported")

    def _tls(self, folder: Path) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=folder / "ca.pem")
            if os.path.exists(folder / "cert.pem"):
                context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        except OSError as error:
            raise BuildError(f"can't use the certificates in {folder}: {error.strerror or error}") from error
        return context
