"""What is to be booted: an artifact, the manifest that goes with it, and what runs in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from fledge_guest import AGENT_PATH, INIT_PATH, INITRAMFS_INIT_PATH, MODULES_PATH, WORKLOAD_PATH, Workload
from fledge_guest.workload import MODULES_SIZE_MAX, SIZE_MAX

from fledge import inspection
from fledge.boot.features import KernelFeature
from fledge.elf import architecture_of
from fledge.errors import BuildError
from fledge.guest import WORKLOAD, workload_of
from fledge.manifest_file import artifact_of, checksum_of, digest_of, is_manifest, manifests_for, read_manifest
from fledge.tree.inode import File
from fledge.values import GuestPath

if TYPE_CHECKING:
    from fledge.tree.tree import Tree

_INIT_MAX: Final = 1 << 20
"""Bytes: the guest init is under 64 KB."""


@dataclass(frozen=True, slots=True)
class Description:
    """`/.fledge/workload` of an image, as far as booting needs it."""

    handover: str | None
    overlay_size: str | None
    stop_signal: int | None


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact that has something to run."""

    artifact: Path
    """Absolute."""
    format: str
    """The filesystem's name."""
    medium: Literal["disk", "initramfs"]
    writable: bool
    features: tuple[KernelFeature, ...]
    """What reads the filesystem."""
    manifest: Mapping[str, Any]
    """Empty when there is none."""
    workload: Workload | None
    """What runs in place of the image's own description; None: that description, or an init that reads none."""
    architecture: str | None
    """Of the init, in Go's names: amd64, arm64; None where there is none or it is a script."""
    agent: bool
    """The image hands over to an agent or to another init."""
    silent: bool
    """Process 1 is not the guest init, which would tell when the workload starts."""
    modules: bytes
    """The image's own list of modules, which is loaded from an initramfs."""

    @property
    def name(self) -> str:
        """For people."""
        return self.artifact.name


def open_subject(path: Path, warn: Callable[[str], None] = lambda _: None) -> Subject:
    """`path`: an artifact, or a manifest.json. The manifest that stands beside an artifact counts if it is its own.

    `warn` is told of one that is not. Raises BuildError when either can't be read, when the artifact is not what the
    manifest's checksum says, or when it has nothing to run; UsageError when the manifest's URL is not a file here.
    """
    document: Mapping[str, Any] = {}
    artifact = path
    if is_manifest(path):
        document = read_manifest(path)
        artifact = artifact_of(document, path)
        _check(document, artifact)
    else:
        document = _manifest_beside(path, warn) or {}
    name, driver, head = inspection.recognize(artifact)
    tree = driver.read_tree(artifact)
    own = _describe(tree, artifact)
    our_init = driver.medium == "disk" or _is_our_init(tree)
    workload, agent = _settle(tree, own, document, artifact, our_init)
    return Subject(
        artifact=artifact.absolute(),
        format=name,
        medium=driver.medium,
        writable=driver.writable,
        features=tuple(driver.kernel_features(head)),
        manifest=document,
        workload=workload,
        architecture=_architecture(tree, INITRAMFS_INIT_PATH if driver.medium == "initramfs" else INIT_PATH),
        agent=agent,
        silent=not our_init,
        modules=_content(tree, GuestPath.parse(MODULES_PATH), MODULES_SIZE_MAX, artifact) or b"",
    )


def _settle(
    tree: Tree, own: Description | None, document: Mapping[str, Any], artifact: Path, our_init: bool
) -> tuple[Workload | None, bool]:
    """What runs in place of the image's own description, and whether an agent or another init is in charge."""
    if not our_init:
        return None, False
    if own is not None and own.handover is not None:
        return None, True
    if own is None and tree.get(GuestPath.parse(AGENT_PATH)) is not None:
        return workload_of({}, handover=AGENT_PATH), True
    settings = (own.overlay_size, own.stop_signal) if own is not None else (None, None)
    workload = workload_of(document.get("workload", {}), overlay_size=settings[0], stop_signal=settings[1])
    if workload is None and own is None:
        raise BuildError(
            f"{artifact} has nothing to run: there is no {WORKLOAD} in it, and no manifest names an entrypoint",
            hint="give manifest.toml a [workload] with the entrypoint, and build again",
        )
    return workload, False


def _check(document: Mapping[str, Any], artifact: Path) -> None:
    wanted = checksum_of(document)
    if wanted is not None and (found := digest_of(artifact, wanted.algorithm)) != wanted:
        raise BuildError(f"{artifact} is not the artifact of its manifest: {found}, and the manifest has {wanted}")


def _manifest_beside(artifact: Path, warn: Callable[[str], None]) -> Mapping[str, Any] | None:
    others = []
    for path, document in manifests_for(artifact):
        checksum = checksum_of(document)
        if checksum is not None and checksum == digest_of(artifact, checksum.algorithm):
            return document
        others.append(path)
    for path in others:
        warn(f"{path} is not used: its checksum is not that of {artifact}")
    return None


def _architecture(tree: Tree, path: str) -> str | None:
    inode = tree.get(tree.resolve(GuestPath.parse(path)))
    return architecture_of(inode.content) if isinstance(inode, File) else None


def _content(tree: Tree, path: GuestPath, limit: int, artifact: Path) -> bytes | None:
    """None where there is no such file. `limit`: bytes; an artifact may say of a hole what it likes."""
    inode = tree.get(path)
    if not isinstance(inode, File):
        return None
    if inode.content.size > limit:
        raise BuildError(f"{artifact}: {path} has {inode.content.size} bytes; the guest init reads at most {limit}")
    return inode.content.read()


def _is_our_init(tree: Tree) -> bool:
    """Of whatever version: no other program of its size has this path in it."""
    inode = tree.get(GuestPath.parse(INITRAMFS_INIT_PATH))
    return (
        isinstance(inode, File) and inode.content.size <= _INIT_MAX and WORKLOAD_PATH.encode() in inode.content.read()
    )


def _describe(tree: Tree, artifact: Path) -> Description | None:
    """What fledge_guest.Workload.render wrote."""
    data = _content(tree, WORKLOAD, SIZE_MAX, artifact)
    if data is None:
        return None
    fields = dict(
        field.decode("utf-8", "surrogateescape").partition("=")[::2] for field in data.partition(b"\n")[2].split(b"\0")
    )
    signal = fields.get("stop_signal", "")
    if not data.startswith(b"fledge-workload 1\n"):
        raise BuildError(f"{artifact}: {WORKLOAD} is not of a form that this version knows: {data[:32]!r}")
    number = int(signal) if re.fullmatch("[0-9]{1,3}", signal) else None
    return Description(fields.get("handover"), fields.get("overlay_size"), number)
