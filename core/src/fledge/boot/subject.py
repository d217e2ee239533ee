"""What is to be booted: an artifact, the manifest that goes with it, and what runs in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote, urlsplit

from fledge_guest import AGENT_PATH, INITRAMFS_INIT_PATH, MODULES_PATH, WORKLOAD_PATH, Workload

from fledge import inspection, manifest
from fledge.boot.features import KernelFeature
from fledge.errors import BuildError, UsageError
from fledge.guest import WORKLOAD, workload_of
from fledge.tree.inode import File
from fledge.values import Digest, GuestPath

if TYPE_CHECKING:
    from fledge.tree.tree import Tree

KINDS = ("rootfs", "initramfs")


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


def open_subject(path: Path) -> Subject:
    """`path`: an artifact, or a manifest.json. The manifest that stands beside an artifact counts if it is its own.

    Raises BuildError when either can't be read, when the artifact is not what the manifest's checksum says, or when it
    has nothing to run; UsageError when the manifest's URL is not a file here.
    """
    document: Mapping[str, Any] = {}
    artifact = path
    if _is_manifest(path):
        document = _read_manifest(path)
        artifact = _artifact_of(document, path)
        _check(document, artifact)
    else:
        document = _manifest_beside(path) or {}
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
        agent=agent,
        silent=not our_init,
        modules=_content(tree, GuestPath.parse(MODULES_PATH)) or b"",
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


def _is_manifest(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(256).lstrip().startswith(b"{")
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error


def _read_manifest(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} is not JSON: {error}") from error
    violations = manifest.violations_of(document)
    if violations:
        raise BuildError(f"{path} is no manifest: {'; '.join(violations)}")
    return cast("Mapping[str, Any]", document)


def _medium(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema demands one of the two."""
    return cast("Mapping[str, Any]", next(document[kind] for kind in KINDS if kind in document))


def _artifact_of(document: Mapping[str, Any], path: Path) -> Path:
    url = _medium(document)["url"]
    parts = urlsplit(url)
    place = Path(unquote(parts.path))
    if parts.scheme in ("", "file") and place.exists():
        return place
    # What was published, or moved together with its manifest.
    beside = path.parent / place.name
    if place.name and beside.is_file():
        return beside
    raise UsageError(
        f"{path}: {url} is not a file on this machine, and {beside} does not exist", hint=f"fetch it to {beside}"
    )


def _check(document: Mapping[str, Any], artifact: Path) -> None:
    wanted = _checksum(document)
    if wanted is not None and (found := digest_of(artifact, wanted.algorithm)) != wanted:
        raise BuildError(f"{artifact} is not the artifact of its manifest: {found}, and the manifest has {wanted}")


def _checksum(document: Mapping[str, Any]) -> Digest | None:
    text = _medium(document).get("checksum")
    try:
        return None if text is None else Digest.parse(text)
    except ValueError as error:
        raise BuildError(f"the manifest's checksum: {error}") from error


def _manifest_beside(artifact: Path) -> Mapping[str, Any] | None:
    for document in _candidates(artifact):
        checksum = _checksum(document)
        if checksum is not None and checksum == digest_of(artifact, checksum.algorithm):
            return document
    return None


def _candidates(artifact: Path) -> Iterator[Mapping[str, Any]]:
    """The manifests in the artifact's folder whose URL ends in its name."""
    for path in sorted(artifact.parent.glob("*.manifest.json")):
        try:
            document = _read_manifest(path)
        except BuildError:
            continue  # Some other tool's.
        if unquote(urlsplit(_medium(document)["url"]).path).rpartition("/")[2] == artifact.name:
            yield document


def digest_of(path: Path, algorithm: str) -> Digest:
    """The digest of a file. Raises BuildError when it can't be read."""
    try:
        with open(path, "rb") as file:
            return Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error


def _content(tree: Tree, path: GuestPath) -> bytes | None:
    inode = tree.get(path)
    return b"".join(inode.content.chunks()) if isinstance(inode, File) else None


def _is_our_init(tree: Tree) -> bool:
    """Of whatever version: no other program has this path in it."""
    return WORKLOAD_PATH.encode() in (_content(tree, GuestPath.parse(INITRAMFS_INIT_PATH)) or b"")


def _describe(tree: Tree, artifact: Path) -> Description | None:
    """What fledge_guest.Workload.render wrote."""
    data = _content(tree, WORKLOAD)
    if data is None:
        return None
    fields = dict(
        field.decode("utf-8", "surrogateescape").partition("=")[::2] for field in data.partition(b"\n")[2].split(b"\0")
    )
    signal = fields.get("stop_signal", "")
    if not data.startswith(b"fledge-workload 1\n"):
        raise BuildError(f"{artifact}: {WORKLOAD} is not of a form that this version knows: {data[:32]!r}")
    return Description(fields.get("handover"), fields.get("overlay_size"), int(signal) if signal.isdecimal() else None)
