"""Each mode of [init], booted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fledge.testing.boots import need_kernel, need_qemu

PROGRAM = r"""
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>
int main(int argc, char **argv) {
    printf("%s runs as %d, /proc is %s\n", argv[0], getpid(), access("/proc/1/stat", F_OK) == 0 ? "there" : "not there");
    fflush(stdout);
    if (getpid() == 1) reboot(RB_POWER_OFF);
    return 3;
}
"""

MODES = {
    "no-init": ('[mappings]\n"app" = "/usr/bin/app"\n', ["/usr/bin/app runs as ", ", /proc is there", "exited with 3"]),
    "path-in-the-image": (
        '[init]\npath = "/sbin/mine"\n[mappings]\n"app" = "/sbin/mine"\n',
        ["/sbin/mine runs as 1, /proc is there"],
    ),
    "path-on-the-host": ('[init]\npath = "app"\n', ["/init runs as 1, /proc is not there"]),
    "none": ('[init]\nnone = true\n[mappings]\n"app" = "/init"\n', ["/init runs as 1, /proc is not there"]),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    need_kernel()
    folder = tmp_path_factory.mktemp("program")
    (folder / "app.c").write_text(PROGRAM)
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-Os", "-s", "-o", "app", "app.c"],
        cwd=folder,
        check=True,
        env={**os.environ, "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")},
    )
    return (folder / "app").read_bytes()


def boot(archive: Path) -> str:
    """What the console shows until the machine is powered off."""
    qemu = need_qemu()
    machine = ["-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]
    kernel = ["-kernel", need_kernel(), "-initrd", archive, "-append", "console=ttyS0 panic=-1 quiet"]
    done = subprocess.run(
        [qemu, *machine, *kernel], stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=True
    )
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("mode", MODES)
def test_the_program_starts(project, program, mode):
    config, lines = MODES[mode]
    project.program("app", program)
    built = project.build(config, '[workload]\nentrypoint = ["/usr/bin/app"]\n')
    console = boot(built.artifact)
    for line in lines:
        assert line in console
    assert "panic" not in console
