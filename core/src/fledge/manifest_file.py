"""A manifest.json that was built, and the artifact that it speaks of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes, urlsplit

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
    """Raises BuildError when it can't be read, or is not what the schema allows, or its artifact's URL is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
    try:
        document = json.loads(data)
        violations = manifest.violations_of(document)
    except RecursionError:
        raise BuildError(f"{path} is no manifest: it is nested too deeply") from None
    except ValueError as error:
        raise BuildError(f"{path} is not JSON: {error}") from error
    if violations:
        raise BuildError(f"{path} is no manifest: {'; '.join(violations)}")
    try:
        _place_of(document)
    except ValueError as error:
        raise BuildError(f"{path} is no manifest: {kind_of(document)}.url: {error}") from error
    return cast("Manifest", document)


def kind_of(document: Manifest) -> str:
    """Which of `KINDS` it has; the schema demands one of them."""
    return next(kind for kind in KINDS if kind in document)


def artifact_of(document: Manifest, path: Path) -> Path:
    """The file that the manifest at `path` speaks of. Raises UsageError when it is not on this machine."""
    scheme, place = _place_of(document)
    if scheme in ("", "file") and os.path.exists(place):
        return place
    # What was published, or moved together with its manifest.
    beside = path.parent / place.name
    if place.name and os.path.isfile(beside):
        return beside
    url = document[kind_of(document)]["url"]
    raise UsageError(
        f"{path}: {url} is not a file on this machine, and {beside} does not exist", hint=f"fetch it to {beside}"
    )


def _place_of(document: Manifest) -> tuple[str, Path]:
    """The scheme and the path of its artifact's URL. Raises ValueError when that is malformed."""
    parts = urlsplit(document[kind_of(document)]["url"])
    # The bytes of a name need not be UTF-8.
    return parts.scheme, Path(os.fsdecode(unquote_to_bytes(parts.path)))


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
        if _place_of(document)[1].name == artifact.name:
            yield path, document


def digest_of(path: Path, algorithm: str) -> Digest:
    """The digest of a file. Raises BuildError when it can't be read."""
    try:
        with open(path, "rb") as file:
            return Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
