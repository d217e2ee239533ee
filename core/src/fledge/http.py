"""GET over http(s): redirects that leak nothing, retries, and errors that name the URL.

Bodies are asked for and taken without a content coding, since a checksum is of the bytes as published. Registries
have a client of their own on top of `new_session` and `follow`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from fledge.errors import BuildError
from fledge.retry import attempts, connection_errors, connection_reason, worth_retrying

if TYPE_CHECKING:
    from requests import Response, Session

MAX_REDIRECTS: Final = 10
TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and of silence in a response."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}

T = TypeVar("T")
Hint = Callable[[int, Mapping[str, str]], str | None]
"""From a status and the headers to what the user can do about it."""


def no_hint(status: int, headers: Mapping[str, str]) -> str | None:
    """For servers that nothing is known about."""


def get(
    url: str,
    receive: Callable[[Response], T],
    *,
    what: str,
    headers: Callable[[], Mapping[str, str]] = dict,
    hint: Hint = no_hint,
) -> T:
    """What `receive` makes of the response, which has the status 200, 206 or 304 and an unread body (`body`).

    `what` is fetched, for messages: "the agent". `headers` is asked anew for each attempt, so that a broken
    transfer can be resumed. Connections that break, also while `receive` reads, and statuses that pass are tried
    again (fledge.retry). User and password in the URL become basic authentication.

    Raises BuildError with the URL that was asked for; where redirects lead may hold secrets in its query.
    """
    import requests

    plain, authorization = _without_credentials(url)
    with new_session() as session:
        for attempt in attempts():
            try:
                with follow(session, plain, {**authorization, **headers()}) as response:
                    status = response.status_code
                    coding = response.headers.get("Content-Encoding", "identity")
                    if status in (200, 206) and coding != "identity":
                        raise BuildError(
                            f"{plain} sends {what} with the content coding {coding}, which it was asked not to"
                        )
                    if status in (200, 206, 304):
                        return receive(response)
                    failure = f"can't fetch {what} from {plain}: {status} {response.reason}".rstrip()
                    if not worth_retrying(status):
                        raise BuildError(failure, hint=hint(status, response.headers))
                    answer: Mapping[str, str] = response.headers
                    remedy = hint(status, answer)
            except requests.exceptions.SSLError as error:
                raise BuildError(
                    f"can't fetch {what} from {plain}: {connection_reason(error)}",
                    hint="certificates of a private authority: name their file in REQUESTS_CA_BUNDLE",
                ) from error
            except requests.exceptions.InvalidURL as error:
                raise BuildError(f"can't fetch {what} from {plain}: {error}") from error
            except connection_errors() as error:
                failure, answer, remedy = f"can't fetch {what} from {plain}: {connection_reason(error)}", {}, None
            attempt.failed(failure, answer, hint=remedy)
    raise AssertionError("the last attempt raises")


def body(response: Response, chunk: int = 1 << 18) -> Callable[[], bytes]:
    """A function that gives the next bytes of the body, as they were sent, and b"" at its end.

    A body shorter than Content-Length says is a broken connection (urllib3 raises IncompleteRead).
    """
    read: Callable[[int], bytes] = response.raw.read
    return lambda: read(chunk)


def get_bytes(url: str, limit: int, *, what: str, headers: Mapping[str, str], hint: Hint = no_hint) -> bytes:
    """A small body at once. Raises BuildError when it has more than `limit` bytes."""

    def receive(response: Response) -> bytes:
        data = bytearray()
        for block in iter(body(response), b""):
            data += block
            if len(data) > limit:
                raise BuildError(f"{what} from {url} has more than {limit} bytes")
        return bytes(data)

    return get(url, receive, what=what, headers=lambda: headers, hint=hint)


def new_session() -> Session:
    """Connections to several servers, for `follow`; proxies and CA bundles are those of the environment."""
    import requests

    from fledge import __version__

    session = requests.Session()
    # Even with allow_redirects=False, requests reads a redirect's whole body and parses where it leads.
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
    # Without an `auth`, requests adds a login of ~/.netrc, which would replace our Authorization.
    session.auth = lambda request: request
    session.headers["User-Agent"] = f"fledge/{__version__}"
    session.headers["Accept-Encoding"] = "identity"
    return session


def follow(
    session: Session,
    url: str,
    headers: Mapping[str, str],
    *,
    method: str = "GET",
    form: Mapping[str, str] | None = None,
) -> Response:
    """The first response that is no redirect, its body unread.

    An Authorization header does not leave the origin of `url`. Raises what `connection_errors` lists, and BuildError
    for redirects that are refused: to anything but http and https, from https to http, more than MAX_REDIRECTS, and
    to another origin with a `form`, which has secrets in it.
    """
    here, sent = url, dict(headers)
    for _ in range(MAX_REDIRECTS + 1):
        response = session.request(
            method, here, headers=sent, data=form, stream=True, timeout=TIMEOUT, allow_redirects=False
        )
        if response.status_code not in _REDIRECTS or "Location" not in response.headers:
            return response
        response.close()
        before, after = urlsplit(here), _target(here, response.headers["Location"], url)
        if after.scheme not in _PORTS or (before.scheme, after.scheme) == ("https", "http"):
            raise BuildError(f"{url} redirects to {after.scheme}://{after.hostname or ''}, which is refused")
        if origin(before) != origin(after):
            sent.pop("Authorization", None)
            if form is not None:
                raise BuildError(
                    f"{url} redirects secrets to {after.scheme}://{after.hostname or ''}, which is refused"
                )
        here = urlunsplit(after._replace(netloc=after.netloc.rpartition("@")[2]))
    raise BuildError(f"{url} redirects more than {MAX_REDIRECTS} times")


def _target(here: str, location: str, asked: str) -> SplitResult:
    try:
        target = urlsplit(urljoin(here, location))
        _ = target.port
    except ValueError as error:
        raise BuildError(f"{asked} redirects to something that is no URL: {error}") from error
    return target


def origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what may share secrets (RFC 6454)."""
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if not login:
        return url, {}
    basic = base64.b64encode(unquote(login).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {basic}"}
