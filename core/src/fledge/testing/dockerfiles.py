"""A folder with a Dockerfile, which a test builds with one builder or another."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fledge import drivers
from fledge.context import BuildContext
from fledge.kinds import Builder
from fledge.sources import DockerfileRequest, ImageRequest, ImageSource
from fledge.testing.builds import Log, context
from fledge.tree.inode import Device, Directory, File, Inode, Symlink
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform


@dataclass
class Built:
    """An image, for assertions."""

    source: ImageSource
    log: Log

    @property
    def tree(self) -> Tree:
        """Of all layers."""
        return Tree(merge(self.source.layers, 0))

    @property
    def document(self) -> dict[str, Any]:
        """The image's config, all of it."""
        document: dict[str, Any] = json.loads(self.source.config.raw)
        return document

    @property
    def config(self) -> dict[str, Any]:
        """What it says of the container."""
        config: dict[str, Any] = self.document["config"]
        return config

    @property
    def env(self) -> dict[str, str]:
        """Env by name."""
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def get(self, path: str) -> Inode | None:
        """The inode at a path."""
        return self.tree.get(GuestPath.parse(path))

    def read(self, path: str) -> bytes:
        """A file's content."""
        inode = self.get(path)
        assert isinstance(inode, File), path
        return inode.content.read()

    @property
    def paths(self) -> list[str]:
        """All but the root."""
        return [path.decode() for path, _ in self.tree.walk() if path]


class Project:
    """A folder with a Dockerfile and what it copies."""

    def __init__(self, folder: Path, make_builder: Callable[[BuildContext], Builder]) -> None:
        self.folder = folder / "context"
        self.folder.mkdir()
        self.store = folder / "store"
        self._make_builder = make_builder

    def write(self, name: str, data: bytes | str = b"", mode: int = 0o644) -> Path:
        """A file of the context."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        return path

    def request(self, text: str | None = None, **more: Any) -> DockerfileRequest:
        """To build it; `text`: the Dockerfile's new one."""
        if text is not None:
            self.write("Dockerfile", text)
        return DockerfileRequest(
            **{
                "dockerfile": self.folder / "Dockerfile",
                "build_context": self.folder,
                "platform": Platform("linux", "amd64"),
                "base_dir": str(self.folder),
                **more,
            }
        )

    def build(self, text: str | None = None, environ: Mapping[str, str] | None = None, **more: Any) -> Built:
        """Builds it. `more`: of the request."""
        log = Log()
        builder = self._make_builder(context(self.store, log, environ))
        builder.fetch_base = fetcher(builder.context)
        return Built(builder.build_image(self.request(text, **more)), log)


def fetcher(build_context: BuildContext) -> Callable[[ImageRequest], ImageSource]:
    """Fetches images with the installed transports, as core does."""

    def fetch(request: ImageRequest) -> ImageSource:
        transport: Any = drivers.load("transport", request.reference.transport)
        driver = transport(request.reference.transport, transport.options_model(), build_context)
        image: ImageSource = driver.fetch_image(request)
        return image

    return fetch


def described(tree: Tree) -> dict[str, tuple[object, ...]]:
    """All of a tree but its times, for comparisons: each path with its inode, and what other names that has."""
    found: dict[str, tuple[object, ...]] = {}
    names: dict[int, list[str]] = {}
    for path, inode in tree.walk():
        names.setdefault(id(inode), []).append(path.decode("utf-8", "backslashreplace"))
    for path, inode in tree.walk():
        what: object = None
        if isinstance(inode, File):
            what = inode.content.read()
        elif isinstance(inode, Symlink):
            what = inode.target
        elif isinstance(inode, Device):
            what = inode.major, inode.minor
        linked = tuple(names[id(inode)]) if not isinstance(inode, Directory) else ()
        about = type(inode).__name__, f"{inode.mode:o}", inode.uid, inode.gid, sorted(inode.xattrs.items()), what
        found["/" + path.decode("utf-8", "backslashreplace")] = (*about, linked[1:] and linked)
    return found


def docker_commands() -> Mapping[str, str]:
    """The folder of a docker command for each way to build: `classic`, `built-in` (BuildKit without a plugin), `buildx`."""
    found: dict[str, str] = {}
    for folder in os.environ["PATH"].split(":"):
        if (program := shutil.which("docker", path=folder)) is None:
            continue
        found.setdefault("classic", folder)
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if re.match(r"Docker version (19|20|21|22)\.", told):
            found.setdefault("built-in", folder)
        if subprocess.run([program, "buildx", "version"], capture_output=True, check=False).returncode == 0:
            found.setdefault("buildx", folder)
    return found


def docker_of_buildkit() -> str:
    """The folder of a docker command that builds with BuildKit; skips the test where there is none."""
    there = docker_commands()
    folder = there.get("built-in") or there.get("buildx")  # Debian 12's has it built in.
    if folder is None:
        pytest.skip("no docker command that builds with BuildKit (apt-get install docker.io)")
    return folder


def with_builder(name: str, environ: Mapping[str, str]) -> Callable[[BuildContext], Builder]:
    """Makes another installed builder, which runs its programs in `environ`."""

    def make(build_context: BuildContext) -> Builder:
        driver: Any = drivers.load("builder", name)
        builder: Builder = driver(name, driver.options_model(), replace(build_context, environ=environ))
        return builder

    return make
