from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fledge.errors import BuildError
from fledge.retry import ATTEMPTS, LONGEST_WAIT, attempts, backoff, retry_after, worth_retrying


def fail_always(waits: list[float], headers: dict[str, str]) -> None:
    for attempt in attempts(sleep=waits.append):
        attempt.failed("the server is down", headers)


def test_case_061_attempts_are_bounded_and_the_waits_grow() -> None:
    waits: list[float] = []
    with pytest.raises(BuildError, match=rf"^the server is down \(tried {ATTEMPTS} times\)$"):
        fail_always(waits, {})
    assert len(waits) == ATTEMPTS - 1
    assert waits == sorted(waits)


def test_success_ends_the_loop() -> None:
    waits: list[float] = []
    for attempt in attempts(sleep=waits.append):
        if attempt.number == 3:
            break
        attempt.failed("not yet")
    assert len(waits) == 2


def test_case_061_retry_after_is_waited_for() -> None:
    waits: list[float] = []
    for attempt in attempts(2, sleep=waits.append):
        if not attempt.last:
            attempt.failed("busy", {"retry-after": "7"})
    assert waits == [7.0]


def test_case_061_a_server_that_asks_for_too_long_is_not_waited_for() -> None:
    waits: list[float] = []
    with pytest.raises(BuildError, match="the server is down; the server asks to wait 3600 s"):
        fail_always(waits, {"Retry-After": "3600"})
    assert waits == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    wait = retry_after({"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)})
    assert wait is not None
    assert 25 < wait <= 30


def test_no_header() -> None:
    assert retry_after({}) is None


@pytest.mark.parametrize("number", range(1, 40))
def test_backoff_stays_within_its_bounds(number: int) -> None:
    assert 0.3 < backoff(number) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("status", "again"),
    [(200, False), (400, False), (401, False), (404, False), (429, True), (500, True), (501, False), (503, True)],
)
def test_statuses(status: int, again: bool) -> None:
    assert worth_retrying(status) is again
