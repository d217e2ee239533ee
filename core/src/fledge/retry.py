"""When a request over the network is tried again, and after how long: one policy for registries and downloads.

    for attempt in attempts():
        try:
            response = session.get(...)
        except connection_errors() as error:
            attempt.failed(f"{url}: {error}")
            continue
        if worth_retrying(response.status_code):
            attempt.failed(f"{url}: status {response.status_code}", response.headers)
            continue
        return response

`failed` waits, and on the last attempt raises BuildError with the message; the loop never ends by itself.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from fledge.errors import BuildError

ATTEMPTS: Final = 5
FIRST_WAIT: Final = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""
LONGEST_WAIT: Final = 60.0
"""Seconds; a server that asks for more in Retry-After is not waited for."""

_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

Clock = Callable[[float], None]


class Attempt:
    """One try of several."""

    def __init__(self, number: int, last: bool, sleep: Clock) -> None:
        self.number = number
        """From 1."""
        self.last = last
        self._sleep = sleep

    def failed(self, message: str, headers: Mapping[str, str] | None = None, *, hint: str | None = None) -> None:
        """Waits for the next attempt, as long as the response's `headers` ask for, if they do.

        Raises BuildError with `message` when there is no next attempt or when the server asks for too long a wait.
        """
        asked = retry_after(headers or {})
        if asked is not None and asked > LONGEST_WAIT:
            raise BuildError(f"{message}; the server asks to wait {asked:.0f} s", hint=hint or "build again later")
        if self.last:
            raise BuildError(f"{message} (tried {self.number} times)" if self.number > 1 else message, hint=hint)
        self._sleep(backoff(self.number) if asked is None else asked)


def attempts(count: int = ATTEMPTS, *, sleep: Clock = time.sleep) -> Iterator[Attempt]:
    """At most `count` attempts; see the module."""
    for number in range(1, count + 1):
        yield Attempt(number, number == count, sleep)


def worth_retrying(status: int) -> bool:
    """Whether a response with this status may turn out otherwise next time (RFC 9110 section 15, RFC 6585)."""
    return status in _TRANSIENT


def connection_errors() -> tuple[type[Exception], ...]:
    """What `requests` raises when the connection can't be made, breaks, or stays silent.

    A certificate that does not verify is among them (SSLError is a ConnectionError): check for it first.
    """
    import requests
    from urllib3.exceptions import HTTPError

    return (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        HTTPError,
    )


def connection_reason(error: Exception) -> str:
    """What went wrong, in one line and without the URL and the objects that requests and urllib3 name around it."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    cause = getattr(inner, "reason", None)
    text = " ".join(str(cause if isinstance(cause, BaseException) else inner).split())
    return re.sub(r"^(\w+\(.*?\)|<.*?>): ", "", text) or type(error).__name__


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that Retry-After asks for, as a number or a date (RFC 9110 section 10.2.3); None without a valid one."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def backoff(number: int) -> float:
    """Seconds after attempt `number`: doubling, the last quarter random, so that many clients don't come back at once."""
    wait: float = min(FIRST_WAIT * 2.0 ** (number - 1), LONGEST_WAIT)
    return wait * random.uniform(0.75, 1)  # noqa: S311
