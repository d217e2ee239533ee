from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fledge import config, pipeline
from fledge.inspection import read_artifact
from fledge.testing.builds import Log, context
from fledge.testing.images import Blobs
from fledge.tree.inode import Directory, File, Inode
from fledge.tree.tree import Tree
from fledge.values import GuestPath


@dataclass
class Built:
    artifact: Path
    manifest: dict[str, Any]
    tree: Tree
    log: Log

    def at(self, path: str) -> Inode | None:
        """By the entries alone, without following symlinks."""
        inode: Inode | None = self.tree.root
        for part in GuestPath.parse(path).parts:
            inode = inode.entries.get(part) if isinstance(inode, Directory) else None
        return inode

    def cat(self, path: str) -> bytes:
        inode = self.at(path)
        assert isinstance(inode, File), path
        return inode.content.read()


class Project:
    """A folder with fledge.toml, built in this process with an own cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: Mapping[str, str] = {"SOURCE_DATE_EPOCH": "1700000000"}

    def program(self, name: str, data: bytes, mode: int = 0o755) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)

    def image(self, *layers: bytes, **image_config: Any) -> None:
        shutil.rmtree(self.folder / "image", ignore_errors=True)
        blobs = Blobs()
        blobs.layout(self.folder / "image", {"latest": blobs.image(*layers, platform="linux/amd64", **image_config)})

    def write(self, text: str, manifest: str = "") -> None:
        (self.folder / "fledge.toml").write_text(f'version = "1"\nstrategy = "initramfs"\n{text}')
        (self.folder / "manifest.toml").write_text(f'schema_version = "v1"\nname = "app"\nversion = "1"\n{manifest}')

    def build(self, text: str, manifest: str = "", *, platform: str = "linux/amd64") -> Built:
        """Without an agent and busybox where `text` has none of both."""
        if "[agent]" not in text and "[init]" not in text:
            text += '\n[agent]\nsource_strategy = "none"\n'
        if "busybox" not in text:
            text += "\n[initramfs]\nbusybox = false\n"
        self.write(text, manifest)
        log = Log()
        plan = config.load(platform=platform, environ=self.environ)
        result = pipeline.build(plan, context(self.folder / "cache", log, self.environ))
        _, tree = read_artifact(result.artifact.path)
        return Built(result.artifact.path, result.manifest, tree, log)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
