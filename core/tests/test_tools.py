from __future__ import annotations

import os
import sys

import pytest
from fledge import tools
from fledge.errors import BuildError
from fledge.progress import Progress


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
