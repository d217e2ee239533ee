"""Packing a tree as a build does: here, or in a process of its own with another environment."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fledge import drivers
from fledge.artifact import Artifact
from fledge.context import BuildContext
from fledge.options import NoOptions
from fledge.output import Outputs
from fledge.plan import BuildPlan, Choice
from fledge.progress import Progress
from fledge.store import Store
from fledge.testing.conformance.traits import able_tree
from fledge.tree.content import Content, FileSource
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import Digest, Platform
from fledge.verify_tree import Difference, differences

if TYPE_CHECKING:
    from fledge.kinds import Filesystem


@dataclass
class Packed:
    """An artifact that stands where it should, and what packed it."""

    filesystem: Filesystem
    tree: Tree
    artifact: Artifact
    digest: Digest | None
    """As the manifest tells it; None where it was not asked for."""

    @cached_property
    def differences(self) -> list[Difference]:
        """What the driver's own reader sees otherwise than it was packed."""
        found = type(self.filesystem).read_tree(self.path)
        return list(differences(self.tree, found, self.filesystem))

    @property
    def path(self) -> Path:
        """The file."""
        return self.artifact.path

    @property
    def sha256(self) -> str:
        """Of the file's bytes, read again."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def pack(
    name: str,
    options: Mapping[str, Any],
    tree: Tree,
    folder: Path,
    *,
    jobs: int = 2,
    store: Store | None = None,
    file_name: str = "artifact.img",
    epoch: int | None = None,
    progress: Progress | None = None,
    hashed: bool = True,
) -> Packed:
    """Packs `tree` into a file of `folder`, which shows up only when all went well; raises what the driver raises.

    `store`: None for a cold one, in `folder`. `epoch`: SOURCE_DATE_EPOCH, in seconds. `hashed`: whether to wait for the
    digest, which of a disk of hundreds of MiB, empty as it may be, takes longer than all else.
    """
    driver = cast("type[Filesystem]", drivers.load("filesystem", name))
    chosen = driver.options_model.model_validate_json(json.dumps(options), strict=True)
    build = BuildContext(store or Store(folder / "cache"), progress or Progress(), environ={}, jobs=jobs)
    filesystem = driver(name, chosen, build)
    folder.mkdir(parents=True, exist_ok=True)
    plan = BuildPlan(
        base_dir=folder,
        strategy=Choice("conformance", NoOptions()),
        filesystem=Choice(name, chosen),
        agent=None,
        mappings=(),
        manifest={},
        platform=Platform("linux", "amd64"),
        epoch=epoch,
    )
    with Outputs() as outputs, build.store.in_use():
        target = outputs.artifact(folder / file_name)
        artifact = filesystem.pack_artifact(plan, tree, target)
        digest = artifact.digest if hashed else None
        outputs.manifest(folder / f"{file_name}.manifest.json", b"{}")
        outputs.commit()
    return Packed(filesystem, tree, artifact, digest)


def digest_elsewhere(name: str, options: Mapping[str, Any], block: int, lacks: Collection[str], folder: Path) -> str:
    """The sha256 of the hard tree, packed by a process with another hash seed, umask, time zone, locale and folder."""
    environ = {
        "PYTHONHASHSEED": "4711",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "LANG": "tr_TR.UTF-8",
        "HOME": str(folder),
        "USER": "somebody-else",
    }
    return _child("hard", name, options, folder, environ, str(block), *lacks)


def peak_memory(name: str, options: Mapping[str, Any], size: int, folder: Path) -> int:
    """The most memory, in bytes, of a process that packs one file of `size` bytes."""
    return int(_child("large", name, options, folder, {}, str(size))) * 1024


def _child(
    what: str, name: str, options: Mapping[str, Any], folder: Path, environ: Mapping[str, str], *more: str
) -> str:
    code = "from fledge.testing.conformance.packing import main; main()"
    argv = [sys.executable, "-c", code, what, name, json.dumps(options), str(folder), *more]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    given = {**os.environ, "PYTHONPATH": path, **environ}
    done = subprocess.run(argv, env=given, cwd="/", umask=0o077, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def main() -> None:
    """The process of `_child`."""
    what, name, options, folder, number, *lacks = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        if what == "hard":
            tree = able_tree(int(number), lacks)
            print(pack(name, json.loads(options), tree, Path(own)).sha256)  # noqa: T201
        else:
            pack(name, json.loads(options), _large_tree(int(number), Path(own)), Path(own))
            print(_peak())  # noqa: T201


def _peak() -> int:
    """The most memory that this process had, in KiB: unlike ru_maxrss, without that of the process which started it."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def _large_tree(size: int, folder: Path) -> Tree:
    """One file without holes, mapped into memory as layers are."""
    blob = folder / "blob"
    blob.touch()
    os.truncate(blob, size)
    tree = Tree(Directory(0o755))
    tree.root.entries[b"large"] = File(Content.whole(FileSource(blob)), 0o644)
    return tree
