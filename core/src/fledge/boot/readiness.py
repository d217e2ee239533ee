"""Waits until the guest is up: its health check answers, or its workload runs."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

from fledge.boot.console import Closed, Complained, Console, Exited, Panicked, Started, Unpacked
from fledge.boot.machine import LOOPBACK, Forward
from fledge.errors import BuildError

SETTLE: Final = 2.0
"""Seconds that an exec workload is watched after its start: many end at once, and with what status is worth telling."""
_POWER_OFF: Final = 15.0
"""Seconds for the guest to end after its workload has."""
_INTERVAL: Final = 0.1
_ANSWER: Final = 5.0
"""Seconds for one answer of the health check."""
_ANSWER_MAX: Final = 200
"""Bytes of it that are read."""
_RESERVED: Final = ":/?#[]@!$&'()*+,;=%"
"""What a URL may have that is not a letter, a digit or one of -._~ (RFC 3986, section 2.2); and what is quoted already."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a health check got. `line`: the first one of a plain text, to show."""

    status: int
    line: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.line}" if self.line else str(self.status)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An http request through a forwarded port."""

    host_port: int
    path: str
    """As a URL has it: ASCII, without spaces."""
    secure: bool = False

    @property
    def url(self) -> str:
        """Where it asks."""
        return f"{'https' if self.secure else 'http'}://{LOOPBACK}:{self.host_port}{self.path}"

    def ask(self, timeout: float) -> Answer | str | None:
        """The answer, or why there is none; None when nothing came within `timeout` seconds."""
        said: list[Answer | str] = []
        # A socket's timeout is that of a single read, and a slow server can make an answer of many.
        asking = threading.Thread(target=self._ask, args=(timeout, said), daemon=True, name="fledge-health")
        asking.start()
        asking.join(timeout)
        return said[-1] if said else None

    def _ask(self, timeout: float, said: list[Answer | str]) -> None:
        """Adds to `said` whatever it learns, the best last."""
        connection: http.client.HTTPConnection
        if self.secure:
            # The guest's certificate is for the name that its users call it by.
            context = ssl._create_unverified_context()  # noqa: S323
            connection = http.client.HTTPSConnection(LOOPBACK, self.host_port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(LOOPBACK, self.host_port, timeout=timeout)
        try:
            connection.request("GET", self.path, headers={"Connection": "close"})
            response = connection.getresponse()
            said.append(Answer(response.status))
            said.append(Answer(response.status, _first_line(response)))
        except TimeoutError:
            pass
        except OSError as error:
            said.append((error.strerror or str(error) or type(error).__name__).lower())
        except http.client.HTTPException as error:
            said.append(f"what answers is not HTTP: {str(error).strip()[:_ANSWER_MAX]!r}")
        finally:
            connection.close()


def _first_line(response: http.client.HTTPResponse) -> str:
    """Of a plain text; a body that doesn't come is no less an answer."""
    if not response.getheader("Content-Type", "").startswith("text/plain"):
        return ""
    try:
        lines = response.read1(_ANSWER_MAX).decode("utf-8", "replace").splitlines()
    except (OSError, http.client.HTTPException):
        return ""
    return lines[0] if lines and lines[0].isprintable() else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The guest came up. `seconds`: from the VMM's start until it was ready."""

    seconds: float
    answer: str | None
    """What the health check answered."""
    exited: Exited | None
    """How the workload ended, if it did while it was watched."""
    runs: str = "the workload"
    """What was started, for people."""


def health_check(manifest: Mapping[str, Any], forwards: tuple[Forward, ...]) -> HealthCheck | None:
    """That of an http workload; None for others, and where the port is not forwarded.

    Raises BuildError when the manifest's endpoint is none.
    """
    workload = manifest.get("workload", {})
    if workload.get("type") != "http":
        return None
    base = urlsplit(workload["base_url"])
    secure = base.scheme == "https"
    port = base.port or (443 if secure else 80)
    endpoint = manifest.get("health_check", {}).get("endpoint", "/")
    try:
        path = quote(urljoin(base.path or "/", endpoint), safe=_RESERVED, errors="backslashreplace")
    except ValueError as error:
        raise BuildError(f"the manifest's health_check.endpoint {endpoint!r} is not a path: {error}") from error
    for forward in forwards:
        if forward.guest_port == port and forward.protocol == "tcp":
            return HealthCheck(forward.host_port, path, secure)
    return None


def wait(console: Console, check: HealthCheck | None, began: float, timeout: float) -> Outcome:
    """Waits at most `timeout` seconds from `began` (of time.monotonic).

    Raises BuildError, without the console's tail, when the guest does not come up.
    """
    return _Wait(console, check, began, timeout).run()


class _Wait:
    def __init__(self, console: Console, check: HealthCheck | None, began: float, timeout: float) -> None:
        self._console = console
        self._check = check
        self._began = began
        self._timeout = timeout
        self._started: float | None = None
        self._runs = Started().what
        self._settled = 0.0
        self._exited: Exited | None = None
        self._complaint: str | None = None
        self._unpacking: str | None = None
        self._answer: Answer | str | None = None

    def run(self) -> Outcome:
        try:
            return self._watch()
        except BuildError:
            if self._unpacking is None:
                raise
            # Whatever the guest missed later was in the rest.
            full = self._unpacking == "write error"
            raise BuildError(
                f"the kernel could not unpack the initramfs: {self._unpacking}",
                hint="more memory (--memory): the unpacked initramfs may take half of it" if full else None,
            ) from None

    def _watch(self) -> Outcome:
        deadline = self._began + self._timeout
        while (now := time.monotonic()) < deadline:
            # Nothing answers before the workload runs, and an agent may start it long after it runs itself.
            if self._check is not None and self._started is not None:
                self._answer = self._check.ask(min(_ANSWER, deadline - now)) or self._answer
                if isinstance(self._answer, Answer) and self._answer.status < 400:
                    answer = f"{self._check.url} answers {self._answer}"
                    return Outcome(time.monotonic() - self._began, answer, None, self._runs)
            if self._check is None and self._started is not None and now >= self._settled:
                return Outcome(self._started - self._began, None, None, self._runs)
            match self._console.next(min(_INTERVAL, deadline - now)):
                case Started(what) if self._started is None:
                    self._started = time.monotonic()
                    self._runs = what
                    self._settled = self._started + SETTLE
                case Exited() as event:
                    # The workload can write such a line, too: it ended only if the machine does.
                    self._exited = event
                    self._settled = time.monotonic() + _POWER_OFF
                case Complained(text):
                    self._complaint = self._complaint or text
                case Unpacked(text):
                    self._unpacking = text
                case Panicked(text):
                    raise BuildError(f"the guest's kernel panicked: {text}")
                case Closed():
                    return self._closed()
        raise BuildError(f"the guest did not come up within {self._timeout:g} s{self._so_far()}", hint=self._advice())

    def _closed(self) -> Outcome:
        """The machine is off."""
        if self._exited is not None and self._check is None and self._started is not None:
            return Outcome(self._started - self._began, None, self._exited, self._runs)
        if self._exited is not None:
            raise BuildError(f"the workload {self._exited} before its health check answered")
        if self._complaint is not None:
            raise BuildError(f"the guest's init gave up: {self._complaint}")
        if self._started is not None:
            raise BuildError(f"the machine ended while {self._runs} ran in it, and no exit status was told")
        raise BuildError("the machine ended before anything started in it")

    def _advice(self) -> str:
        if self._check is not None and self._started is not None and not isinstance(self._answer, Answer):
            return "--timeout for more patience; nobody reaches what listens on the guest's 127.0.0.1 alone"
        return "--timeout for more patience"

    def _so_far(self) -> str:
        if self._complaint is not None:
            return f": {self._complaint}"
        if self._started is None:
            return ": its workload has not started"
        if isinstance(self._answer, Answer) and self._check is not None:
            return f": {self._check.url} answers {self._answer}"
        return f": {self._check.url}: {self._answer or 'no answer'}" if self._check is not None else ""
