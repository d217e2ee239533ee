"""Requests to a registry and its token server: kept connections, certificates, retries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fledge.errors import BuildError
from fledge.http import follow, new_session
from fledge.retry import attempts, connection_errors, connection_reason, worth_retrying

if TYPE_CHECKING:
    import ssl

    from requests import Response, Session
    from requests.adapters import HTTPAdapter

CHUNK: Final = 1 << 20
"""Bytes asked for at once: the interpreter lock is free while the kernel copies."""

Trust = Callable[[], "tuple[str, ssl.SSLContext]"]


class Http:
    """A pool of connections. Safe to use from several threads."""

    def __init__(self, trust: Trust | None = None) -> None:
        """`trust`: gives the beginning of URLs and the certificates to ask them with."""
        self._trust = trust
        self._opened: Session | None = None
        self._lock = threading.Lock()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Response:
        """The response after redirects (`fledge.http.follow`), its body unread; tried again where that may help.

        Raises BuildError when nothing answered, with a certificate that can be trusted, or only to ask for patience.
        """
        import requests

        for attempt in attempts():
            try:
                response = follow(self._session(), url, headers, method=method, form=form)
            except requests.exceptions.SSLError as error:
                host = urlsplit(url).netloc
                raise BuildError(
                    f"can't trust {host}: {connection_reason(error)}",
                    hint=f"put the authority's certificate at /etc/containers/certs.d/{host}/ca.crt",
                ) from error
            except requests.exceptions.InvalidURL as error:
                raise BuildError(f"can't ask {shown(url)}: {error}") from error
            except connection_errors() as error:
                attempt.failed(f"no answer from {shown(url)}: {connection_reason(error)}")
                continue
            if not worth_retrying(response.status_code):
                return response
            with response:
                attempt.failed(f"{shown(url)} answered {response.status_code}", response.headers)
        raise AssertionError("the last attempt raises")

    def _session(self) -> Session:
        # Not before it is needed: when the store has all of an image, nobody is asked for anything.
        with self._lock:
            if self._opened is None:
                self._opened = new_session()
                if self._trust is not None:
                    origin, context = self._trust()
                    self._opened.mount(origin, _adapter(context))
            return self._opened


def read_all(response: Response, limit: int) -> bytes:
    """The whole body as it was sent, or its first `limit` + 1 bytes. Raises connection_errors()."""
    data = bytearray()
    while len(data) <= limit and (chunk := response.raw.read(limit + 1 - len(data))):
        data += chunk
    return bytes(data)


def shown(url: str) -> str:
    """A URL for messages, without its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _adapter(context: ssl.SSLContext) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **kwargs)

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            return super().proxy_manager_for(*args, ssl_context=context, **kwargs)

    return Adapter()
