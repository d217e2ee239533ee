"""`make demo` without the minute that the first compilation takes: the C library is not built here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "examples" / "demo"


def test_the_demo_builds_both_and_shows_them(tmp_path: Path) -> None:
    folder = tmp_path / "examples" / "demo"
    shutil.copytree(DEMO, folder)
    out = tmp_path / "build" / "demo"
    out.mkdir(parents=True)
    (out / "hello").write_bytes(b"\x7fELF and more")
    done = subprocess.run(
        [folder / "run"],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    for name in ("squashfs", "ext4"):
        assert (out / f"hello-{name}.img").stat().st_size > 0
        manifest = json.loads((out / f"hello-{name}.manifest.json").read_text())
        assert manifest["rootfs"]["format"] == name
        assert manifest["workload"] == {
            "type": "http",
            "entrypoint": ["/usr/bin/hello"],
            "base_url": "http://127.0.0.1:8080",
            "env": {"PATH": "/usr/bin", "PORT": "8080"},
            "workdir": "/home/demo",
            "user": "demo",
        }
    listings = done.stdout.split("fledge inspect hello-")[1:]
    assert len(listings) == 2
    for listing in listings:
        assert "/usr/bin/hello == /usr/bin/hallo security.capability=0x01000002" in listing
        assert "/bin -> usr/bin" in listing
        assert "drwxr-x--- 1000:1000" in listing
    assert done.stdout.count("\n== ") == 8
