"""A manifest.json that was built, and the artifact that it speaks of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from fledge import manifest
from fledge.errors import BuildError, UsageError
from fledge.values import Digest

KINDS: Final = ("rootfs", "initramfs")
"""The sections of which a manifest has exactly one."""

Manifest = Mapping[str, Any]


def is_manifest(path: Path) -> bool:
    """Whether a file is JSON rather than an artifact. Raises BuildError when it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read(256).lstrip().startswith(b"{")
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error


def read_manifest(path: Path) -> Manifest:
    """Raises BuildError when it is not what the schema allows."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} is not JSON: {error}") from error
    violations = manifest.violations_of(document)
    if violations:
        raise BuildError(f"{path} is no manifest: {'; '.join(violations)}")
    return cast("Manifest", document)


def kind_of(document: Manifest) -> str:
    """Which of `KINDS` it has; the schema demands one of them."""
    return next(kind for kind in KINDS if kind in document)


def artifact_of(document: Manifest, path: Path) -> Path:
    """The file that the manifest at `path` speaks of. Raises UsageError when it is not on this machine."""
    url = document[kind_of(document)]["url"]
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


def checksum_of(document: Manifest) -> Digest | None:
    """The artifact's digest, where the manifest tells one. Raises BuildError when it is malformed."""
    text = document[kind_of(document)].get("checksum")
    try:
        return None if text is None else Digest.parse(text)
    except ValueError as error:
        raise BuildError(f"the manifest's checksum: {error}") from error


def manifests_for(artifact: Path) -> Iterator[tuple[Path, Manifest]]:
    """The manifests in the artifact's folder whose URL ends in its name; whether they are its own, its digest tells."""
    for path in sorted(artifact.parent.glob("*.manifest.json")):
        try:
            document = read_manifest(path)
        except BuildError:
            continue  # Some other tool's.
        if unquote(urlsplit(document[kind_of(document)]["url"]).path).rpartition("/")[2] == artifact.name:
            yield path, document


def digest_of(path: Path, algorithm: str) -> Digest:
    """The digest of a file. Raises BuildError when it can't be read."""
    try:
        with open(path, "rb") as file:
            return Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
