"""A user's folder with an image, the config files and a cache of its own, in which the installed command runs."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fledge import drivers
from fledge.testing.images import Blobs
from fledge.testing.tars import archive, member

PLATFORM = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[platform.machine()]
"""This machine's, which is what builds are for when nothing is said."""

PROGRAM = b"\x7fELF\x02\x01\x01" + struct.pack(
    "<9x2HI3QI6H", 2, {"x86_64": 62, "aarch64": 183}[platform.machine()], 1, 0x400000, 0, 0, 0, 64, 56, 0, 64, 0, 0
)
"""The header of a static program for this machine, and nothing of it."""

LAYERS = (
    archive(
        member(b"bin", flag=b"2", link=b"usr/bin", mode=0o777),
        member(b"etc/", flag=b"5", mode=0o755, mtime=1_600_000_000),
        member(b"etc/motd", b"the lower one\n"),
        member(b"usr/bin/", flag=b"5", mode=0o755),
        member(b"usr/bin/app", PROGRAM, mode=0o4755, uid=7, mtime=1_650_000_000),
        member(b"usr/bin/again", flag=b"1", link=b"usr/bin/app"),
    ),
    archive(member(b"etc/motd", b"welcome\n", mode=0o640, gid=8), member(b"var/data", b"data " * 100_000)),
)
"""A small image: a symlinked /bin, a hard link, setuid, a file over another."""

CONFIG: Mapping[str, Any] = {
    "created": "2024-01-01T00:00:00Z",
    "config": {
        "Entrypoint": ["/usr/bin/app"],
        "Cmd": ["--serve"],
        "Env": ["PATH=/usr/bin", "PORT=8080"],
        "WorkingDir": "/var",
        "User": "7:8",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
    },
}


class Project:
    """`program`: what to run instead of this environment's `fledge`."""

    def __init__(self, folder: Path, program: Sequence[str] = ()) -> None:
        self.folder = folder
        self.program = tuple(program) or (str(Path(sysconfig.get_path("scripts")) / "fledge"),)
        self.environ = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": f"{folder}.home",
            "FLEDGE_CACHE_DIR": str(folder / "cache"),
        }

    @property
    def cache(self) -> Path:
        """The cache's folder."""
        return Path(self.environ["FLEDGE_CACHE_DIR"])

    def image(self, *layers: bytes, folder: str = "image", **config: Any) -> Path:
        """Writes an OCI layout, tag `latest`: of `layers`, with a config that starts nothing, or the small image."""
        blobs = Blobs()
        default = {**CONFIG, "config": {}} if layers else CONFIG
        top = blobs.image(*(layers or LAYERS), platform=PLATFORM, **(config or default))
        return blobs.layout(self.folder / folder, {"latest": top})

    def config(self, filesystem: str = "squashfs", *, agent: str = 'source_strategy = "none"', more: str = "") -> None:
        """Writes fledge.toml for the image in the folder. `more`: keys of [filesystem], then further tables."""
        (self.folder / "fledge.toml").write_text(
            f'version = "1"\nstrategy = "oci_rootfs"\n[agent]\n{agent}\n[source]\nimage = "oci:image:latest"\n'
            f'[filesystem]\ntype = "{filesystem}"\n{more}\n'
        )

    def start(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[str]:
        """Runs the command in the background with its output in pipes; `more` goes to Popen."""
        options: dict[str, Any] = {
            "cwd": self.folder,
            "env": self.environ,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        return subprocess.Popen([*self.program, *map(str, arguments)], **(options | more))

    def run(self, *arguments: str | Path, code: int = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end; any other exit code than `code` fails the test with what it said."""
        with self.start(*arguments, **more) as process:
            out, err = process.communicate(timeout=180)
        if process.returncode != code:
            pytest.fail(f"fledge {' '.join(map(str, arguments))}: exit {process.returncode}\n{out}{err}")
        assert "Traceback" not in str(err), err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def build(self, *arguments: str | Path, **more: Any) -> dict[str, Any]:
        """`fledge build --json` and what it printed."""
        facts: dict[str, Any] = json.loads(self.run("build", "--json", *arguments, **more).stdout)
        return facts

    def manifest(self, name: str = "image.manifest.json") -> dict[str, Any]:
        """A manifest that was built."""
        document: dict[str, Any] = json.loads((self.folder / name).read_text())
        return document

    def inside(self, artifact: str | Path) -> dict[str, dict[str, Any]]:
        """What `fledge inspect` says of an artifact, by path."""
        lines = self.run("inspect", "--json", artifact).stdout.splitlines()
        return {facts["path"]: facts for facts in map(json.loads, lines)}

    def cat(self, artifact: str | Path, path: str) -> bytes:
        """A file's bytes in an artifact."""
        return self.run("inspect", "--cat", artifact, path, text=False).stdout  # type: ignore[return-value]

    def leftovers(self) -> list[Path]:
        """Temporary files in the folder and in the cache's `tmp`."""
        found = set((self.cache / "tmp").glob("*"))
        for folder, folders, files in os.walk(self.folder):  # Unlike glob, it does not mind what goes meanwhile.
            found |= {Path(folder, name) for name in (*folders, *files) if name.endswith(".fledge-part")}
        return sorted(found)


def loadable(kind: str) -> list[str]:
    """The names of the installed drivers of a kind that can be imported."""
    return [one.name for one in drivers.installed() if one.kind == kind and one.failure is None]


def site_packages(folder: Path, distribution: str, points: Mapping[str, Mapping[str, str]]) -> None:
    """Makes a folder, with whatever modules are in it, look like an installed distribution with entry points."""
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
            for group, named in points.items()
        )
    )
