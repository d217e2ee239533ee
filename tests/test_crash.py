"""Output is complete or absent: signals, full disks and failing system calls at every stage, and builds at once."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fledge.testing.oracles import need_root, need_tool, run
from fledge.testing.project import LAYERS, Project
from fledge.testing.tars import archive, member
from fledge.testing.trees import data

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
FORMATS = ["squashfs", "ext4"]
TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(40_000))
"""A megabyte and a half, for a build that lasts long enough to be hit."""


class Output:
    """An artifact and its manifest, watched from outside."""

    def __init__(self, project: Project, folder: Path | None = None) -> None:
        self.project = project
        self.artifact = (folder or project.folder) / "out.img"
        self.manifest = self.artifact.with_name("out.manifest.json")

    def want(self, text: str, filesystem: str = "squashfs") -> None:
        """Writes the config of a build whose artifact has `text` in it."""
        (self.project.folder / "mapped").write_text(text)
        self.project.config(filesystem, more='[mappings]\n"mapped" = "/mapped"\n')

    def build(self, code: int = 0) -> str:
        """Builds, and returns what it said."""
        return self.project.run("build", "-o", self.artifact, code=code).stderr

    def state(self) -> tuple[str | None, str | None]:
        """The checksum in the manifest and that of the artifact; None for what is not there."""
        told = json.loads(self.manifest.read_bytes())["rootfs"]["checksum"] if self.manifest.exists() else None
        return told, checksum(self.artifact)


def checksum(path: Path) -> str | None:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


@pytest.fixture
def output(project: Project) -> Output:
    """With an old output, a config for another one, and a cold cache."""
    project.image(*LAYERS, archive(member(b"text", TEXT), member(b"noise", data(500_000))))
    made = Output(project)
    made.want("old")
    made.build()
    made.want("new")
    project.environ["FLEDGE_CACHE_DIR"] = str(project.folder / "cold")
    return made


def assert_recovers(output: Output) -> None:
    """The next build succeeds, and nothing of the one that was hit is left behind."""
    output.build()
    told, there = output.state()
    assert told == there is not None
    assert output.project.leftovers() == []


# Signals


EVENTS = ["layer started", "layer ended", "image", "writing squashfs started", "writing squashfs ended"]


def event_of(line: str) -> str:
    event = json.loads(line)
    if "event" in event:
        stage = "layer" if event["stage"].startswith("layer ") else event["stage"]
        return f"{stage} {event['event']}"
    return str(event["message"]).partition(":")[0]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("number", SIGNALS)
def test_case_088_a_signal_at_a_stage(output: Output, number: signal.Signals, event: str) -> None:
    old = output.state()
    with output.project.start("--log-format", "json", "build", "-o", output.artifact) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if event_of(line) == event:
                process.send_signal(number)
                break
        else:
            pytest.fail(f"there was no {event!r}")
        _, rest = process.communicate()
    assert_hit(output, process.returncode, number, old)
    if process.returncode == 130:
        assert f'"interrupted by {number.name}"' in rest
    if not event.endswith("squashfs ended"):
        assert process.returncode != 0
        assert output.state() == old
    assert_recovers(output)


def assert_hit(output: Output, code: int, number: signal.Signals, old: tuple[str | None, str | None]) -> None:
    told, there = output.state()
    if code == 0:  # It came too late.
        assert told == there is not None
    elif number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        # While the two are shown, and only then, there is no manifest at all.
        assert told in (None, there)
        assert there is not None
    else:
        assert code == 130
        # After the two are shown, and before their paths are printed, it is the new one.
        assert told == there is not None
        assert [path for path in output.project.leftovers() if path.parent == output.artifact.parent] == []


@pytest.mark.parametrize("filesystem", FORMATS)
def test_case_088_signals_at_random_moments(output: Output, filesystem: str) -> None:
    output.want("new", filesystem)
    begin = time.monotonic()
    output.build()
    lasts = time.monotonic() - begin
    old = output.state()
    chance = random.Random(88)
    for attempt in range(6):
        number = SIGNALS[attempt % 3]
        output.project.environ["FLEDGE_CACHE_DIR"] = str(output.project.folder / f"cold{attempt}")
        output.want(f"new {attempt}", filesystem)
        moment = chance.uniform(0.25, 1) * lasts  # Before that Python starts.
        with output.project.start("build", "-o", output.artifact) as process:
            time.sleep(moment)
            process.send_signal(number)
            process.communicate()
        if process.returncode != -number or number == signal.SIGKILL:  # Else Python itself was still starting.
            assert_hit(output, process.returncode, number, old)
        assert_recovers(output)
        old = output.state()


def test_case_088_an_ignored_signal_stays_ignored(output: Output) -> None:
    """`nohup fledge build`."""
    need_tool("nohup", "coreutils")
    output.project.program = ("nohup", *output.project.program)
    with output.project.start("--log-format", "json", "build", "-o", output.artifact) as process:
        assert process.stderr is not None
        while "started" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGHUP)
        process.communicate()
    assert process.returncode == 0


def test_an_interrupt_puts_the_terminal_back(output: Output) -> None:
    output.project.environ["TERM"] = "xterm"
    screen, terminal = pty.openpty()
    with output.project.start("build", "-o", output.artifact, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while chunk := _read(screen):
            shown += chunk
            if b"\x1b[?25l" in shown and process.poll() is None and b"interrupted" not in shown:
                process.send_signal(signal.SIGINT)
        process.communicate()
    os.close(screen)
    assert process.returncode == 130
    assert shown.endswith(b"fledge: error: interrupted by SIGINT\r\n")
    assert shown.rfind(b"\x1b[?25l") < shown.rfind(b"\x1b[?25h"), "the cursor is shown again"


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 4096)
    except OSError:  # EIO: nobody has the other side open any more.
        return b""


# System calls that fail or are the last


def traced(project: Project, calls: str, what: str, when: int) -> tuple[int, str, bool]:
    """Builds with the `when`th of some system calls failing or fatal: the exit code, stderr, and whether it came to that."""
    strace = need_tool("strace")
    log = project.folder / "strace"
    argv = (strace, "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={when}")
    program, project.program = project.program, (*argv, *project.program)
    try:
        with project.start("build", "-o", "out.img") as process:
            _, said = process.communicate(timeout=120)
    finally:
        project.program = program
    if "ptrace" in said and "not permitted" in said:
        pytest.skip("strace may not trace here")
    assert "Traceback" not in said, f"{calls} {when}: {said}\n{log.read_text()}"
    text = log.read_text()
    return process.returncode, said, "INJECTED" in text or "--- SIG" in text or "+++ killed" in text


@pytest.fixture
def quiet(output: Output) -> Output:
    """Without what Python and stevedore write on their own account, and warm."""
    output.project.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    output.project.environ["FLEDGE_CACHE_DIR"] = str(output.project.folder / "cache")
    return output


def test_case_088_case_096_killed_before_every_call_that_shows_something(quiet: Output) -> None:
    quiet.want("first")
    quiet.build()
    seen = set()
    for call in ("fsync", "unlink", "rename"):
        for when in range(1, 100):
            before = quiet.state()
            quiet.want(f"{call} {when}")
            code, _, hit = traced(quiet.project, call, "signal=KILL", when)
            if not hit:
                assert code == 0
                break
            assert code == -signal.SIGKILL
            told, there = quiet.state()
            seen.add("no manifest" if told is None else "old" if (told, there) == before else "new")
            assert told in (None, there), f"a stale pair before {call} {when}"
            assert there is not None
            assert_recovers(quiet)
    assert seen == {"old", "no manifest", "new"}


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_case_088_an_interrupt_comes_too_late_while_the_output_is_shown(quiet: Output, number: str) -> None:
    quiet.build()
    quiet.want("another")
    code, _, hit = traced(quiet.project, "unlink", f"signal={number}", 1)
    assert hit
    assert code == 0
    told, there = quiet.state()
    assert told == there is not None


ERRORS = [
    pytest.param("fsync", "error=EIO", id="fsync-EIO"),
    pytest.param("rename", "error=EIO", id="rename-EIO"),
    pytest.param("pwritev,pwrite64,ftruncate,fallocate", "error=ENOSPC", id="write-ENOSPC"),
]


@pytest.mark.parametrize(("calls", "what"), ERRORS)
@pytest.mark.parametrize("filesystem", FORMATS)
def test_case_089_a_call_fails(quiet: Output, filesystem: str, calls: str, what: str) -> None:
    quiet.want("first", filesystem)
    quiet.build()
    failed = 0
    for when in range(1, 100):
        before = quiet.state()
        quiet.want(f"number {when}", filesystem)
        code, said, hit = traced(quiet.project, calls, what, when)
        if not hit:
            assert code == 0
            break
        told, there = quiet.state()
        assert quiet.project.leftovers() == []
        assert told in (None, there)
        if code == 0:
            continue  # A pack that can't be kept is no reason to fail.
        assert code == 1
        failed += 1
        assert os.strerror(5 if "EIO" in what else 28) in said
        if "rename" not in calls and not said.endswith("out.manifest.json: Input/output error\n"):
            assert (told, there) == before
    assert failed


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    need_root()
    folder.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)
    try:
        yield folder
    finally:
        run("umount", folder)


@pytest.mark.parametrize("filesystem", FORMATS)
def test_case_089_the_output_does_not_fit(output: Output, filesystem: str) -> None:
    output.want("old", filesystem)
    with tmpfs(output.project.folder / "small", "size=400k") as folder:
        small = Output(output.project, folder)
        small.artifact.write_bytes(b"old")
        small.manifest.write_bytes(b'{"rootfs": {"checksum": "old"}}')
        said = small.build(code=1)
        assert f"can't write {small.artifact}: No space left on device" in said
        assert small.artifact.read_bytes() == b"old"
        assert small.state()[0] == "old"
        assert sorted(os.listdir(folder)) == ["out.img", "out.manifest.json"]
        run("mount", "-o", "remount,size=100%", folder)
        assert_recovers(small)


def test_case_089_no_room_for_one_file_more(output: Output) -> None:
    """The artifact fits and the manifest does not, and the other way round nothing does."""
    page = os.sysconf("SC_PAGESIZE")
    size = -(-output.artifact.stat().st_size // page) * page
    for number, options in enumerate((f"size={size}", "size=100%,nr_inodes=2", "size=100%,nr_inodes=1")):
        with tmpfs(output.project.folder / f"small{number}", options) as folder:
            assert "No space left on device" in Output(output.project, folder).build(code=1)
            assert os.listdir(folder) == []


def test_case_089_the_cache_is_full(project: Project) -> None:
    """Every size and number of files that the cache may have until the build fits in."""
    output = Output(project)
    output.want("old")
    output.build()
    old = output.state()
    output.want("new")
    failed = 0
    for number, options in enumerate(
        [f"size={size}k" for size in (4, 16, 64, 512, 700)] + [f"nr_inodes={count}" for count in range(3, 28, 3)]
    ):
        with tmpfs(project.folder / f"cache{number}", options) as folder:
            project.environ["FLEDGE_CACHE_DIR"] = str(folder)
            with project.start("build", "-o", output.artifact) as process:
                _, said = process.communicate()
            assert "Traceback" not in said, f"{options}: {said}"
            assert project.leftovers() == []
        if process.returncode == 0:
            old = output.state()
            assert old[0] == old[1]
            continue
        failed += 1
        assert process.returncode == 1
        assert "No space left on device" in said, f"{options}: {said}"
        assert str(folder) in said or "cache" in said
        assert output.state() == old
    assert failed > 5


@pytest.mark.parametrize("limit", [0, 1000, 100_000, 600_000])
@pytest.mark.parametrize("filesystem", FORMATS)
def test_case_089_files_may_not_become_that_large(output: Output, filesystem: str, limit: int) -> None:
    """RLIMIT_FSIZE, as ulimit -f sets it; of the output or of the cache, whichever is hit first."""
    old = output.state()
    output.want("new", filesystem)
    output.project.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    program = output.project.program
    output.project.program = (need_tool("prlimit", "util-linux"), f"--fsize={limit}", *program)
    assert "File too large" in output.build(code=1)
    assert output.state() == old
    assert output.project.leftovers() == []
    output.project.program = program
    assert_recovers(output)


def test_case_089_the_cache_can_not_be_made(output: Output) -> None:
    (output.project.folder / "file").touch()
    output.project.environ["FLEDGE_CACHE_DIR"] = str(output.project.folder / "file" / "cache")
    said = output.build(code=1)
    assert "file/cache" in said
    assert "FLEDGE_CACHE_DIR" in said


def test_case_090_everything_on_another_filesystem(output: Output) -> None:
    folder = output.project.folder
    with (
        tmpfs(folder / "t", "size=64m") as temporary,
        tmpfs(folder / "c", "size=64m") as cache,
        tmpfs(folder / "o", "size=64m") as out,
    ):
        output.project.environ |= {"TMPDIR": str(temporary), "FLEDGE_CACHE_DIR": str(cache)}
        for filesystem in FORMATS:
            output.want("new", filesystem)
            assert_recovers(Output(output.project, out))
            assert_recovers(Output(output.project))
        assert os.listdir(temporary) == []


# Builds at once


def at_once(project: Project, *commands: tuple[str | Path, ...]) -> list[str]:
    """Runs commands side by side; each must succeed. What they printed."""
    processes = [project.start(*command) for command in commands]
    said = [process.communicate(timeout=120) for process in processes]
    for process, (_, err) in zip(processes, said, strict=True):
        assert process.returncode == 0, err
    return [out for out, _ in said]


def test_case_091_one_cold_cache(output: Output) -> None:
    """Three builds take the same layers into the same store at the same time."""
    project = output.project
    project.config("squashfs", more='[mappings]\n"mapped" = "/mapped"\n')
    built = at_once(project, *(("build", "--json", "-o", f"out{number}.img") for number in range(3)))
    digests = {json.loads(text)["digest"] for text in built}
    assert len(digests) == 1
    for number in range(3):
        assert checksum(project.folder / f"out{number}.img") in digests
    assert project.leftovers() == []


@pytest.mark.parametrize("filesystem", FORMATS)
def test_case_091_one_output(output: Output, filesystem: str) -> None:
    project = output.project
    expected = set()
    for name in ("a", "b", "c"):
        output.want(name * 1000, filesystem)
        text = (project.folder / "fledge.toml").read_text().replace('"mapped" =', f'"mapped-{name}" =')
        (project.folder / f"{name}.toml").write_text(text)
        (project.folder / "mapped").rename(project.folder / f"mapped-{name}")
        expected.add(project.build("-c", f"{name}.toml", "-o", "alone.img")["digest"])
    assert len(expected) == 3
    at_once(project, *(("build", "-c", f"{name}.toml", "-o", output.artifact) for name in ("a", "b", "c")))
    told, there = output.state()
    assert told == there
    assert told in expected
    assert project.leftovers() == []


def test_case_091_prune_does_not_take_away_what_a_build_uses(output: Output) -> None:
    project = output.project
    with project.start("--log-format", "json", "build", "-o", output.artifact) as process:
        assert process.stderr is not None
        while "writing squashfs" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGSTOP)  # Else a fast machine is done before the other one has started.
        said = project.run("cache", "prune", "--all", code=1).stderr
        process.send_signal(signal.SIGCONT)
        assert "in use by a build" in said
        process.communicate()
    assert process.returncode == 0
    project.run("cache", "prune", "--all")
    assert_recovers(output)


# Never a stale pair


class Watcher:
    """Looks at a pair again and again, as an installer might, and remembers what did not fit together."""

    def __init__(self, artifact: Path, manifest: Path) -> None:
        self.stale = 0
        self.good: set[str] = set()
        self._paths = artifact, manifest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        artifact, manifest = self._paths
        while not self._stop.is_set():
            try:
                before = manifest.read_bytes()
                there = checksum(artifact)
                after = manifest.read_bytes()
            except FileNotFoundError:
                continue
            match = re.search(rb"sha256:[0-9a-f]{64}", before)
            if before != after:
                continue
            if match and match[0].decode() == there:
                self.good.add(there)
            else:
                self.stale += 1


def test_case_096_no_stale_pair_is_ever_seen(project: Project) -> None:
    output = Output(project)
    with Watcher(output.artifact, output.manifest) as watcher:
        for number in range(6):
            output.want(f"number {number}", FORMATS[number % 2])
            output.build()
    assert watcher.stale == 0
    assert len(watcher.good) > 3, "the watcher has seen the builds"


def _artifact_first(artifact: Path, manifest: Path, data: bytes, text: bytes) -> None:
    artifact.write_bytes(data)
    time.sleep(0.02)
    manifest.write_bytes(text)


def _manifest_first(artifact: Path, manifest: Path, data: bytes, text: bytes) -> None:
    _artifact_first(manifest, artifact, text, data)


@pytest.mark.parametrize("publish", [_artifact_first, _manifest_first])
def test_the_watcher_can_fail(tmp_path: Path, publish: Callable[[Path, Path, bytes, bytes], None]) -> None:
    artifact, manifest = tmp_path / "a", tmp_path / "m"
    with Watcher(artifact, manifest) as watcher:
        for number in range(10):
            content = b"%d" % number
            publish(artifact, manifest, content, b"sha256:" + hashlib.sha256(content).hexdigest().encode())
            time.sleep(0.02)
    assert watcher.stale
    assert watcher.good
