from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from fledge import tools
from fledge.errors import BuildError
from fledge.progress import LINE_MAX, Progress


def test_a_program_in_the_background_ends_with_the_block() -> None:
    with tools.running(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], Progress()
    ) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        assert one.stdout.readline() == b"up\n"
        one.stderr.close()
    assert one.returncode == -9
    one.stdout.close()


def test_it_inherits_what_it_is_handed_and_nothing_else() -> None:
    given, kept = os.memfd_create("given"), os.memfd_create("kept")
    script = "import os; print(*(os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 2 and os.path.lexists(f'/proc/self/fd/{fd}')))"
    with tools.running([sys.executable, "-c", script], Progress(), pass_fds=[given]) as one:
        out, _ = one.communicate(timeout=20)
    os.close(given)
    os.close(kept)
    assert b"memfd:given" in out
    assert b"memfd:kept" not in out


def test_a_program_that_is_missing_names_its_package() -> None:
    with (
        pytest.raises(BuildError, match="the program 'no-such-vmm' is not installed") as caught,
        tools.running(["no-such-vmm"], Progress(), package="the VMM"),
    ):
        pass
    assert caught.value.hint == "install the VMM"


def test_a_program_that_can_not_be_run(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "text")
    with open(path, "w") as file:
        file.write("no program")
    with (
        pytest.raises(BuildError, match=r"can't run .*text': Permission denied"),
        tools.running([path], Progress()),
    ):
        pass


def test_lines_are_told_as_they_come() -> None:
    script = "import sys, time; print('one', flush=True); time.sleep(0.4); print('two', file=sys.stderr)"
    told: list[tuple[str, float]] = []
    tools.follow(
        [sys.executable, "-c", script], Progress(), lambda line: told.append((line, time.monotonic())), what="it"
    )
    assert [line for line, _ in told] == ["one", "two"]
    assert told[1][1] - told[0][1] > 0.3


@pytest.mark.parametrize(
    ("printed", "line"),
    [(r"\x1b[91mred\x1b[0m", "red"), (r"10%\r50%\r100%\r\n", "100%"), (r"\x1b]0;title\x07", "0;title"), (r"\xff", "\\xff")],
)  # fmt: skip
def test_what_a_terminal_would_execute_is_not_told(printed: str, line: str) -> None:
    told: list[str] = []
    tools.follow(
        [sys.executable, "-c", f"import sys; sys.stdout.buffer.write(b'{printed}')"], Progress(), told.append, what="it"
    )
    assert [one.strip() for one in told] == [line]


def test_a_failure_has_the_exit_code_and_the_last_lines() -> None:
    script = "print(*range(20), sep='\\n'); print(); exit(7)"
    with pytest.raises(tools.ProgramError, match=r"^the step failed with exit code 7: 19$") as caught:
        tools.follow([sys.executable, "-c", script], Progress(), lambda _: None, what="the step")
    assert caught.value.transcript == tuple(str(number) for number in range(10, 20))


def test_a_line_without_an_end_takes_no_memory() -> None:
    told: list[str] = []
    script = r"head -c 100000000 /dev/zero | tr '\0' x; printf '\rend'; echo; head -c 70000 /dev/zero | tr '\0' y"
    tracemalloc.start()
    tools.follow(["sh", "-c", script], Progress(), told.append, what="it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told == ["end", "y" * LINE_MAX]
    assert peak < 2 << 20


def test_stdout_may_go_into_a_file(tmp_path: Path) -> None:
    told: list[str] = []
    with open(tmp_path / "out", "wb") as file:
        script = "import sys; print('data'); print('line', file=sys.stderr)"
        tools.follow([sys.executable, "-c", script], Progress(), told.append, what="it", stdout=file.fileno())
    assert ((tmp_path / "out").read_text(), told) == ("data\n", ["line"])


class TestAfterwards:
    def test_the_names_given_by_the_end_of_the_block(self, tmp_path: Path) -> None:
        files = [tmp_path / name for name in ("a b", "c\nd", "kept")]
        for file in files:
            file.touch()
        with tools.afterwards(["rm"], Progress()) as clean_up:
            clean_up(str(files[0]))
            clean_up(str(files[1]))
            assert files[0].exists()
        assert [file.exists() for file in files] == [False, False, True]

    def test_nothing_to_clean_up(self, tmp_path: Path) -> None:
        with tools.afterwards(["touch", str(tmp_path / "ran")], Progress()):
            pass
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_the_end_of_this_process(self, tmp_path: Path, number: signal.Signals) -> None:
        (tmp_path / "file").touch()
        script = (
            "import sys, time; from fledge import tools; from fledge.progress import LINE_MAX, Progress\n"
            "with tools.afterwards(['rm'], Progress()) as clean_up, tools.running(['sleep', '60'], Progress()):\n"
            f"    clean_up({str(tmp_path / 'file')!r}); print('up', flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            assert (tmp_path / "file").exists()
            process.send_signal(number)
        deadline = time.monotonic() + 10
        while (tmp_path / "file").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
