"""HTTP as registries need it: redirects that keep secrets, retries, raw bodies. Wraps requests."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from fledge.errors import BuildError
from fledge.retry import Clock, attempts, connection_errors, worth_retrying

if TYPE_CHECKING:
    import ssl

    import requests
    from requests.adapters import HTTPAdapter

MAX_REDIRECTS: Final = 5
CHUNK: Final = 1 << 20
"""Bytes asked for at once: the interpreter lock is free while the kernel copies."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a server may take to accept a connection, and to send the next bytes."""

    connect: float = 10.0
    read: float = 60.0


class Response:
    """An answer whose body has not been read yet; a context manager that gives the connection back."""

    def __init__(self, raw: requests.Response) -> None:
        self._raw = raw
        self.status: int = raw.status_code
        self.headers: Mapping[str, str] = raw.headers
        """Names in any case."""
        self.url: str = raw.url or ""

    def read(self, limit: int) -> bytes:
        """At most `limit` of the next bytes, as they were sent; empty at the end. Raises connection_errors()."""
        data: bytes = self._raw.raw.read(limit, decode_content=False)
        return data

    def read_all(self, limit: int) -> bytes:
        """The whole body, or its first `limit` + 1 bytes. Raises connection_errors()."""
        data = bytearray()
        while len(data) <= limit and (chunk := self.read(limit + 1 - len(data))):
            data += chunk
        return bytes(data)

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()


class Http:
    """A pool of connections. Safe to use from several threads."""

    def __init__(self, timeouts: Timeouts = Timeouts(), sleep: Clock = time.sleep) -> None:
        import requests

        self._timeouts = timeouts
        self.sleep = sleep
        self._session = requests.Session()
        # Without an `auth` of its own, requests takes credentials from ~/.netrc and from URLs, for redirects too.
        self._session.auth = lambda request: request
        self._session.headers = {"User-Agent": "fledge", "Accept-Encoding": "identity"}

    def trust(self, origin: str, context: ssl.SSLContext) -> None:
        """Connections to the URLs that begin with `origin` are made with this context."""
        self._session.mount(origin, _adapter(context))

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        """One request, over at most 5 redirects. An Authorization header only goes to the origin of `url`.

        Raises BuildError for redirects from https to http, for endless ones, and for certificates that don't verify;
        connection_errors() otherwise.
        """
        home = origin_of(url)
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            allowed = {
                name: value
                for name, value in (headers or {}).items()
                if name != "Authorization" or origin_of(here) == home
            }
            response = self._exchange(method, here, allowed, form)
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                return response
            with response:
                there = urljoin(here, target)
            scheme = urlsplit(there).scheme
            if scheme != "https" and not (scheme == "http" and urlsplit(here).scheme == "http"):
                raise BuildError(f"{shown(here)} redirects to {shown(there)}, which is not encrypted; refused")
            if form is not None and origin_of(there) != home:
                raise BuildError(f"{shown(here)} redirects secrets to {shown(there)}, another host; refused")
            here = there
        raise BuildError(f"{shown(url)} redirects more than {MAX_REDIRECTS} times")

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None) -> Response:
        import requests

        timeout = (self._timeouts.connect, self._timeouts.read)
        try:
            return Response(
                self._session.request(
                    method, url, headers=dict(headers), data=form, stream=True, allow_redirects=False, timeout=timeout
                )
            )
        except requests.exceptions.SSLError as error:
            raise BuildError(
                f"can't trust {origin_of(url)}: {reason_of(error)}",
                hint="put the registry's CA into the system's store, or name it in REQUESTS_CA_BUNDLE",
            ) from error
        except (ValueError, requests.exceptions.InvalidURL) as error:
            raise BuildError(f"can't ask {shown(url)}: {error}") from error

    def persist(self, method: str, url: str, headers: Mapping[str, str], **more: Mapping[str, str]) -> Response:
        """`send`, tried again where that may help. Raises BuildError when it did not."""
        for attempt in attempts(sleep=self.sleep):
            try:
                response = self.send(method, url, headers, **more)
            except connection_errors() as error:
                attempt.failed(f"no answer from {shown(url)}: {reason_of(error)}")
                continue
            if not worth_retrying(response.status):
                return response
            with response:
                attempt.failed(f"{shown(response.url)} answered {response.status}", response.headers)
        raise AssertionError("the last attempt raises")


def reason_of(error: BaseException) -> str:
    """The innermost reason of what requests and urllib3 raise inside of each other, on one line."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^<[^>]*>: |^\w+\([^)]*\): ", "", text)


def shown(url: str) -> str:
    """A URL for messages: without the query, which signs redirects, and without user information."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def origin_of(url: str) -> str:
    """Scheme, host and port: what decides who may see a secret (RFC 6454)."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _adapter(context: ssl.SSLContext) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **kwargs)

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            return super().proxy_manager_for(*args, ssl_context=context, **kwargs)

    return Adapter()
