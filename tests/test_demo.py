"""`make demo` without the minute that the first compilation takes: the C library is not built here."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fledge.testing.boots import need_kernel, need_qemu
from fledge.testing.oracles import need_tool, run
from fledge_guest import init_binary

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "amd64"


def demo(folder: Path, program: bytes, kernel: str) -> str:
    """What the demo prints in a checkout that has `program` compiled already. `kernel`: tools/debian-kernel."""
    shutil.copytree(ROOT / "examples" / "demo", folder / "examples" / "demo")
    out = folder / "build" / "demo"
    out.mkdir(parents=True)
    (out / "hello").write_bytes(program)
    (folder / "tools").mkdir()
    (folder / "tools" / "debian-kernel").write_text(kernel)
    (folder / "tools" / "debian-kernel").chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLEDGE_")}
    done = subprocess.run(
        [folder / "examples" / "demo" / "run"],
        env=environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_demo_builds_both_and_tells_what_is_missing_to_boot(tmp_path: Path) -> None:
    said = demo(tmp_path, init_binary(ARCHITECTURE), "#!/bin/sh\necho no kernel for you >&2\nexit 1\n")

    out = tmp_path / "build" / "demo"
    for name, kind, form in (("initramfs.cpio.gz", "initramfs", "cpio"), ("rootfs.img", "rootfs", "squashfs")):
        assert (out / name).stat().st_size > 0
        manifest = json.loads((out / f"{name.partition('.')[0]}.manifest.json").read_text())
        assert manifest[kind]["format"] == form
        assert manifest["workload"] == {
            "type": "http",
            "entrypoint": ["/usr/bin/hello"],
            "base_url": "http://127.0.0.1:8080",
            "env": {"PATH": "/usr/bin", "PORT": "8080"},
            "workdir": "/home/demo",
            "user": "demo",
        }
    assert "/usr/bin/hello == /usr/bin/hallo" in said
    assert "drwxr-x--- 1000:1000" in said
    assert re.search(r"^built, but not booted; missing: .*a kernel", said, re.MULTILINE)
    assert "no kernel for you" in said
    assert said.count("\n== ") == 7


def test_the_demo_boots_both(tmp_path: Path) -> None:
    need_qemu()
    need_kernel()
    program = tmp_path / "hello"
    # As the demo's own compiler does it, which would first compile a C library for a minute.
    run(need_tool("gcc"), "-static", "-Os", "-s", "-o", program, ROOT / "examples" / "demo" / "hello.c")

    # Where the kernel is unpacked in the checkout, its path has the checkout's space.
    linked = (
        f'#!/bin/sh -e\nmkdir -p "$1"\n{ROOT}/tools/debian-kernel "$1" | while IFS== read -r name path; do\n'
        'ln -s "$path" "$1/$name"; echo "$name=$1/$name"\ndone\n'
    )
    said = demo(tmp_path / "a checkout", program.read_bytes(), linked)

    answers = re.findall(
        r"^up in [\d.]+ s \(qemu, .*answers 200: hello from \w+, Linux \d\S+, up for [\d.]+ s$", said, re.MULTILINE
    )
    assert len(answers) == 2, said
