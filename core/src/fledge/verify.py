"""An artifact, read back and compared with its manifest and with the tree that was to go into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fledge import drivers, inspection
from fledge.errors import BuildError
from fledge.manifest_file import (
    Manifest,
    artifact_of,
    checksum_of,
    digest_of,
    is_manifest,
    kind_of,
    manifests_for,
    read_manifest,
)
from fledge.tree.inode import File
from fledge.verify_tree import Difference, differences, unreadable

if TYPE_CHECKING:
    from fledge.kinds import Filesystem
    from fledge.progress import Progress
    from fledge.tree.tree import Tree


Original = Callable[[str, type["Filesystem"]], tuple["Filesystem", "Tree"]]
"""Makes the tree that an artifact should hold, and the driver that would pack it.

Called with the name and the driver of the artifact's filesystem. Raises what a build raises.
"""


@dataclass(slots=True)
class Report:
    """What was looked at. `inodes` and `size` (bytes in files) are those of the artifact."""

    artifact: Path
    manifest: Path | None = None
    """What the artifact was compared with."""
    format: str | None = None
    """The filesystem's name; None: none knows it."""
    inodes: int = 0
    size: int = 0
    differences: list[Difference] = field(default_factory=list)


def verify(path: Path, progress: Progress, original: Original | None = None) -> Report:
    """`path`: an artifact, or a manifest.json. `original`: None to see only that everything can be read.

    Without a manifest, that which stands beside the artifact and names it counts, if there is one. Raises BuildError
    when a file can't be read, UsageError when a manifest's artifact is not on this machine.
    """
    if is_manifest(path):
        document = read_manifest(path)
        report = Report(artifact_of(document, path), path)
        report.differences += _of_manifest(document, report.artifact)
    else:
        report = Report(path)
        _compare_with_manifest_beside(report)
    try:
        name, driver, _ = inspection.recognize(report.artifact)
        report.format = name
        tree = driver.read_tree(report.artifact)
    except BuildError as error:
        expected = f"a sound {report.format}" if report.format else "an installed filesystem's"
        report.differences.append(Difference(None, "structure", expected, error.message))
        return report
    _count(report, tree)
    if report.manifest is not None:
        report.differences += _of_format(read_manifest(report.manifest), name)
    if original is None:
        with progress.stage(f"reading {report.artifact.name}", report.size) as stage:
            report.differences += unreadable(tree, stage.advance)
        return report
    filesystem, expected_tree = original(name, driver)
    if filesystem.name != name:
        # What a format cuts off (half seconds) is another's difference.
        report.differences.append(Difference(None, "format", filesystem.name, name))
        return report
    with progress.stage(f"comparing {report.artifact.name}", report.size) as stage:
        report.differences += differences(expected_tree, tree, filesystem, stage.advance)
    return report


def _compare_with_manifest_beside(report: Report) -> None:
    """Several manifests may name one file, of which at most one is its own; that one counts, else the first."""
    found = [(path, list(_of_manifest(document, report.artifact))) for path, document in manifests_for(report.artifact)]
    if found:
        report.manifest, wrong = min(found, key=lambda one: len(one[1]))
        report.differences += wrong


def _of_manifest(document: Manifest, artifact: Path) -> Iterator[Difference]:
    wanted = checksum_of(document)
    if wanted is None:
        yield Difference(None, "checksum", "one in the manifest", "none")
    elif (found := digest_of(artifact, wanted.algorithm)) != wanted:
        yield Difference(None, "checksum", str(wanted), str(found))


def _of_format(document: Manifest, name: str) -> Iterator[Difference]:
    told = document[kind_of(document)]["format"]
    # What is no filesystem's name is what the consumer calls it: raw, qcow2.
    if told != name and told in drivers.names("filesystem"):
        yield Difference(None, "format", told, name)


def _count(report: Report, tree: Tree) -> None:
    seen: set[int] = set()
    for _, inode in tree.walk():
        if id(inode) not in seen:
            seen.add(id(inode))
            report.size += inode.content.size if isinstance(inode, File) else 0
    report.inodes = len(seen)
