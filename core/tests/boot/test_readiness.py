"""What the console says, by a program that says it; and what comes of that."""

from __future__ import annotations

import http.server
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from fledge import tools
from fledge.boot import readiness
from fledge.boot.console import Complained, Console, Event, Exited, Panicked, Started, Unpacked, event_of
from fledge.boot.machine import Forward
from fledge.boot.readiness import HealthCheck, Outcome, health_check, wait
from fledge.errors import BuildError
from fledge.progress import Progress


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("fledge: workload started", Started()),
        ("fledge: handing over to /bin/kestrel", Started("/bin/kestrel")),
        ("fledge: handing over to /.fledge/init", None),
        ("fledge: workload exited with 3", Exited(status=3)),
        ("no newlinefledge: workload exited with 0", Exited(status=0)),
        ("fledge: workload killed by signal 9", Exited(signal=9)),
        ("fledge: error: cannot mount /dev/vda", Complained("cannot mount /dev/vda")),
        ("fledge: warning: something", None),
        (
            "[    2.17] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300",
            Panicked("Attempted to kill init! exitcode=0x00000300"),
        ),
        ("[    2.17][    T1] Kernel panic - not syncing: VFS", Panicked("VFS")),
        ("[    4.9] Initramfs unpacking failed: write error", Unpacked("write error")),
        ("he said Kernel panic - not syncing: VFS", None),
        ("[    1.0] Run /init as init process", None),
        ("anything", None),
    ],
)
def test_what_a_line_means(line: str, event: Event | None) -> None:
    assert event_of(line, silent=False) == event


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("[    1.0] Run /init as init process", Started("/init")),
        ("fledge: workload started", None),
        ("[    1.0] Kernel panic - not syncing: x", Panicked("x")),
    ],
)
def test_without_the_guest_init_the_kernels_word_counts(line: str, event: Event | None) -> None:
    assert event_of(line, silent=True) == event


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SETTLE", 0.3)


def watch(script: str, check: HealthCheck | None = None, timeout: float = 10, silent: bool = False) -> Outcome:
    """`script`: Python that plays the VMM."""
    console = Console()
    console.silent = silent
    program = f"import sys, time, os\ndef say(text): print(text, flush=True)\n{script}"
    with tools.running([sys.executable, "-c", program], Progress()) as process:
        began = time.monotonic()
        console.follow(process)
        try:
            return wait(console, check, began, timeout)
        finally:
            test_console.append(console)


test_console: list[Console] = []
STARTED = "say('fledge: workload started')\n"
FOREVER = "time.sleep(60)\n"


def test_a_workload_that_goes_on() -> None:
    outcome = watch(STARTED + FOREVER)
    assert outcome.exited is None
    assert 0 < outcome.seconds < 5


@pytest.mark.parametrize("status", [0, 3, 255])
def test_a_workload_that_ends_is_told_with_its_status(status: int) -> None:
    assert watch(f"{STARTED}say('fledge: workload exited with {status}')").exited == Exited(status=status)


def test_a_workload_that_is_killed() -> None:
    assert watch(f"{STARTED}say('fledge: workload killed by signal 11')").exited == Exited(signal=11)


@pytest.mark.parametrize("at", [1, 7, 8, 16, 17, 24])
def test_the_kernel_may_break_a_line_in_two(at: int) -> None:
    said, kernel = "fledge: workload started", "[    3.241326] IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready"
    script = f"say({said[:at]!r} + {kernel!r})\nsay({kernel!r})\nsay({said[at:]!r})\n{FOREVER}"
    assert watch(script, timeout=5).exited is None


def test_a_panic_in_the_midst_of_a_line() -> None:
    with pytest.raises(BuildError, match="kernel panicked: VFS: gone"):
        watch(f"say('half a li[    3.241326] Kernel panic - not syncing: VFS: gone')\n{FOREVER}")


def test_only_the_last_exit_counts() -> None:
    script = f"{STARTED}say('fledge: workload exited with 0')\ntime.sleep(0.5)\nsay('fledge: workload exited with 4')"
    assert watch(script).exited == Exited(status=4)


def test_a_machine_that_says_so_and_runs_on_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_POWER_OFF", 0.2)
    assert watch(f"{STARTED}say('fledge: workload exited with 0')\n{FOREVER}").exited is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "the machine ended before anything started in it"),
        (STARTED, "the machine ended while the workload ran in it, and no exit status was told"),
        (
            "say('fledge: handing over to /bin/kestrel')",
            "the machine ended while /bin/kestrel ran in it, and no exit status was told",
        ),
        (
            "say('[ 4.9] Initramfs unpacking failed: write error')\nsay('fledge: error: cannot execute /app')",
            "the kernel could not unpack the initramfs: write error",
        ),
        ("say('fledge: error: no root device')", "the guest's init gave up: no root device"),
        ("say('[ 1.0] Kernel panic - not syncing: VFS: x')\n" + FOREVER, "the guest's kernel panicked: VFS: x"),
        (STARTED + "say('[ 1.0] Kernel panic - not syncing: y')\n" + FOREVER, "the guest's kernel panicked: y"),
        (FOREVER, "the guest did not come up within 1 s: its workload has not started"),
        ("say('fledge: error: slow')\n" + FOREVER, "the guest did not come up within 1 s: slow"),
    ],
)
def test_a_guest_that_does_not_come_up(script: str, message: str) -> None:
    with pytest.raises(BuildError) as caught:
        watch(script, timeout=1)
    assert caught.value.message == message


def test_the_kernels_word_starts_a_silent_guest() -> None:
    outcome = watch("say('[ 0.5] Run /init as init process')\n" + FOREVER, silent=True)
    assert (outcome.exited, outcome.runs) == (None, "/init")


def test_an_initramfs_that_was_unpacked_far_enough() -> None:
    assert watch(f"say('[ 4.9] Initramfs unpacking failed: junk')\n{STARTED}{FOREVER}").exited is None


class Answer(http.server.BaseHTTPRequestHandler):
    statuses: list[int]
    paths: list[str]
    kind = ""
    body = b""

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        if self.kind:
            self.send_header("Content-Type", self.kind)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Answer.statuses, Answer.paths = [200], []
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_health_check_answers(port: int) -> None:
    Answer.statuses = [503, 404, 204]
    outcome = watch(STARTED + FOREVER, HealthCheck(port, "/health?full=1"))
    assert outcome.answer == f"http://127.0.0.1:{port}/health?full=1 answers 204"
    assert Answer.paths == ["/health?full=1"] * 3


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("text/plain; charset=utf-8", "grüß dich\r\nand more\n", "answers 200: grüß dich"),
        ("text/plain", "\033]0;title\007\n", "answers 200"),
        ("text/plain", "", "answers 200"),
        ("text/html", "<p>\n", "answers 200"),
        ("", "nobody knows\n", "answers 200"),
    ],
)
def test_the_first_line_of_a_plain_text_is_told(
    port: int, monkeypatch: pytest.MonkeyPatch, kind: str, body: str, told: str
) -> None:
    monkeypatch.setattr(Answer, "kind", kind)
    monkeypatch.setattr(Answer, "body", body.encode())
    outcome = watch(STARTED + FOREVER, HealthCheck(port, "/"))
    assert outcome.answer == f"http://127.0.0.1:{port}/ {told}"


def test_a_health_check_that_never_likes_it(port: int) -> None:
    Answer.statuses = [500]
    with pytest.raises(BuildError, match=f"within 1 s: http://127.0.0.1:{port}/ answers 500"):
        watch(STARTED + FOREVER, HealthCheck(port, "/"), timeout=1)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "remote end closed connection without response"),
        (b"garb\x1bage\r\n", "what answers is not HTTP: 'garb\\x1bage'"),
    ],
)
def test_what_answers_is_no_web_server(said: bytes, message: str) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(said)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert HealthCheck(server.server_address[1], "/").ask(5) == message
        server.shutdown()


def test_nobody_listens() -> None:
    with pytest.raises(BuildError, match=r"within 1 s: http://127.0.0.1:1/: connection refused$") as caught:
        watch(STARTED + FOREVER, HealthCheck(1, "/"), timeout=1)
    assert caught.value.hint is not None
    assert "127.0.0.1 alone" in caught.value.hint


def test_somebody_listens_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BuildError, match=rf"within 1 s: http://127.0.0.1:{port}/: no answer$") as caught:
            watch(STARTED + FOREVER, HealthCheck(port, "/"), timeout=1)
    assert caught.value.hint is not None
    assert "127.0.0.1 alone" in caught.value.hint


def test_nothing_is_asked_before_the_workload_runs(port: int) -> None:
    with pytest.raises(BuildError, match="within 1 s: its workload has not started"):
        watch(FOREVER, HealthCheck(port, "/"), timeout=1)
    assert Answer.paths == []


def test_a_service_that_ends_before_it_answers() -> None:
    with pytest.raises(BuildError, match="the workload exited with 0 before its health check answered"):
        watch(f"{STARTED}say('fledge: workload exited with 0')", HealthCheck(1, "/"))


@pytest.mark.parametrize(
    ("workload", "more", "expected"),
    [
        ({"type": "exec"}, {}, None),
        ({"type": "http", "base_url": "http://127.0.0.1:80"}, {}, HealthCheck(1080, "/")),
        ({"type": "http", "base_url": "http://x"}, {"health_check": {"endpoint": "/up"}}, HealthCheck(1080, "/up")),
        (
            {"type": "http", "base_url": "http://x/api/"},
            {"health_check": {"endpoint": "up"}},
            HealthCheck(1080, "/api/up"),
        ),
        (
            {"type": "http", "base_url": "http://x/ä/"},
            {"health_check": {"endpoint": "grüß dich?a=%20b&c"}},
            HealthCheck(1080, "/%C3%A4/gr%C3%BC%C3%9F%20dich?a=%20b&c"),
        ),
        (
            {"type": "http", "base_url": "http://x"},
            {"health_check": {"endpoint": "/\ud800"}},
            HealthCheck(1080, "/%5Cud800"),
        ),
        ({"type": "http", "base_url": "https://x"}, {}, HealthCheck(1443, "/", secure=True)),
        ({"type": "http", "base_url": "http://x:53"}, {}, None),
        ({"type": "http", "base_url": "http://x:81"}, {}, None),
    ],
)
def test_the_health_check_of_a_manifest(
    workload: dict[str, str], more: dict[str, dict[str, str]], expected: HealthCheck | None
) -> None:
    forwards = (Forward(1080, 80), Forward(1443, 443), Forward(1053, 53, "udp"))
    assert health_check({"workload": workload, **more}, forwards) == expected


def test_an_endpoint_that_is_no_path() -> None:
    manifest = {"workload": {"type": "http", "base_url": "http://x"}, "health_check": {"endpoint": "//[x"}}
    with pytest.raises(
        BuildError, match=r"^the manifest's health_check.endpoint '//\[x' is not a path: Invalid IPv6 URL$"
    ):
        health_check(manifest, ())


@pytest.mark.parametrize(
    ("said", "pause", "secure", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\n", 0.2, False, None),
        (b"\x16\x03\x03\x40\x00", 0.2, True, None),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", 0.001, False, readiness.Answer(200)),
    ],
    ids=["headers", "handshake", "body"],
)
def test_what_comes_byte_by_byte_is_waited_for_no_longer_than_that(
    said: bytes, pause: float, secure: bool, answer: readiness.Answer | None
) -> None:
    """A read for each byte, none of which takes long."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            for byte in said:
                self.request.send(bytes([byte]))
                if over.wait(pause):
                    return
            over.wait(10)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        assert HealthCheck(server.server_address[1], "/", secure).ask(0.5) == answer
        assert time.monotonic() - began < 2
        over.set()
        server.shutdown()


def test_the_tail_has_no_control_characters() -> None:
    watch(f"say('\\x1b[31mred\\x1b[0m\\tand \\x07bell\\r')\nos.write(1, b'\\xff\\n')\n{STARTED}{FOREVER}")
    assert list(test_console[-1].tail()) == ["red and  bell", "\\xff", "fledge: workload started"]


def test_the_tail_is_short_and_a_last_line_needs_no_end() -> None:
    with pytest.raises(BuildError):
        watch("for i in range(1000): say(i)\nos.write(1, b'end')")
    tail = list(test_console[-1].tail())
    assert (len(tail), tail[0], tail[-1]) == (20, "981", "end")


def test_what_the_vmm_says_itself_is_kept_apart() -> None:
    with pytest.raises(BuildError):
        watch("print('bad option', file=sys.stderr)")
    assert list(test_console[-1].errors()) == ["bad option"]
    assert list(test_console[-1].tail()) == []
