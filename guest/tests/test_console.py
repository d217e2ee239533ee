"""The lines of the console, from the init itself."""

from __future__ import annotations

import pytest
from fledge_guest import Event, Workload, parse_event


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("fledge: workload started", Event("started")),
        ("no newline herefledge: workload exited with 3\r", Event("exited", number=3)),
        ("fledge: workload killed by signal 9", Event("killed", number=9)),
        ("fledge: error: cannot mount proc on /proc", Event("error", "cannot mount proc on /proc")),
        ("fledge: warning: unknown kernel parameter fledge.x", Event("warning", "unknown kernel parameter fledge.x")),
        ("fledge: workload exited with 3 times", None),
        ("[    1.2] reboot: Power down", None),
        ("", None),
    ],
)
def test_lines(line, event):
    assert parse_event(line) == event


def test_the_lines_of_a_run(run_as_init):
    described = Workload(("sh", "-c", "echo fledge: workload exited with 0; busybox printf 'no newline'; exit 5"))
    console = run_as_init({"/.fledge/workload": described.render()}, "fledge.trace")
    events = [event for line in console.splitlines() if (event := parse_event(line)) and event.kind != "warning"]
    assert [event.text.split()[0] for event in events if event.kind == "trace"] == [
        "start",
        "modules",
        "system",
        "exec",
    ]
    assert Event("started") in events
    assert events[-1] == Event("exited", number=5)


def test_the_line_of_a_handover(run_as_init):
    described = Workload(handover="/bin/agent").render()
    console = run_as_init({"/.fledge/workload": described, "/bin/agent": b"#!/bin/sh\n"})
    assert parse_event(console.splitlines()[0]) == Event("handed over", "/bin/agent")
