"""The binaries of the wheel's build."""

from __future__ import annotations

from pathlib import Path

import pytest
from fledge.testing.oracles import need_tool, run
from fledge_guest import WORKLOAD_PATH, Workload, init_binary

MACHINES = {"amd64": "Advanced Micro Devices X86-64", "arm64": "AArch64"}


@pytest.fixture(scope="session")
def binaries(compile_init, tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    for architecture in MACHINES:
        compile_init(architecture, folder / architecture)
    return folder


@pytest.mark.parametrize("architecture", MACHINES)
def test_the_same_sources_give_the_same_bytes(binaries, compile_init, tmp_path, architecture):
    output = binaries / architecture
    compile_init(architecture, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == output.read_bytes()
    assert init_binary(architecture) == output.read_bytes(), "stale: uv sync --reinstall-package fledge-guest"


@pytest.mark.parametrize("architecture", MACHINES)
def test_the_binary_is_small_and_static(binaries, architecture):
    output = binaries / architecture
    data = output.read_bytes()
    assert len(data) < 64 * 1000
    assert b"/home/" not in data
    assert b"/tmp/" not in data
    shown = run(need_tool("readelf", "binutils"), "-hlW", output).stdout
    assert MACHINES[architecture] in shown
    assert "INTERP" not in shown
    assert "DYNAMIC" not in shown
    assert "RWE" not in shown


@pytest.mark.parametrize("architecture", MACHINES)
def test_outside_of_process_1_it_does_nothing(binaries, architecture):
    emulator = [] if architecture == "amd64" else [need_tool("qemu-aarch64-static", "qemu-user-static")]
    done = run(*emulator, binaries / architecture, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fledge: error: the init of a virtual machine runs as process 1 only\n"


def test_an_unknown_architecture_is_an_error():
    with pytest.raises(ValueError, match="no guest init for architecture 'riscv64'; there are: amd64, arm64"):
        init_binary("riscv64")
    with pytest.raises(ValueError, match="no guest init"):
        init_binary("../bin/init-amd64")


@pytest.mark.parametrize(
    ("script", "fields", "files", "shown"),
    [
        ("pwd; id -u; id -G; exit 3", {"workdir": "/a/b", "user": "web"}, {}, "/a/b\n1000\n1001 4\n"),
        ("(sleep 0.1 &); sleep 0.3; kill -9 $$", {}, {}, "fledge: workload killed by signal 9\n"),
        ("trap 'echo hung up; exit 0' HUP; kill -HUP 1; sleep 2 & wait", {}, {}, "hung up\n"),
        ("ls -1d /dev/shm/ /proc/self/; hostname", {"hostname": "arm"}, {}, "/dev/shm/\n/proc/self/\narm\n"),
        ("", {}, {"/.fledge/modules": b"/x.ko\n"}, "cannot open the module /x.ko: no such file or directory (ENOENT)"),
    ],
    ids=range(5),
)
def test_the_arm64_binary_runs_a_workload(binaries, run_as_init, script, fields, files, shown):
    """Under user-mode emulation: its entry point, system calls and structures are those of the architecture."""
    emulator = Path(need_tool("qemu-aarch64-static", "qemu-user-static")).read_bytes()
    applets = {f"/bin/{name}": Path("busybox") for name in ("hostname", "id", "ls", "sleep")}
    accounts = {"/etc/passwd": b"web:x:1000:1001::/:\n", "/etc/group": b"adm:x:4:web\n"}
    described = {WORKLOAD_PATH: Workload(("sh", "-c", script or "echo ran"), **fields).render()}
    own = {"/init": (binaries / "arm64").read_bytes(), "/emulator": emulator}
    console = run_as_init({**own, **applets, **accounts, **described, **files}, emulator="/emulator")
    assert shown in console.replace("fledge: workload started\n", "")
