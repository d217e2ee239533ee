"""The names that images give to artifacts and files."""

from __future__ import annotations

import re
from typing import Final

from fledge.image.reference import parse_reference

_ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.[a-z0-9]+)?|tgz)$", re.IGNORECASE)
_PATH_TRANSPORTS: Final = frozenset({"oci", "oci-archive", "docker-archive"})


def name_of_image(text: str) -> str | None:
    """The last component of an image reference's path, without tag and digest; None when nothing is left.

    `docker://ghcr.io/acme/Web:1.2@sha256:...` is `Web`; an archive has its file's name without `.tar`.
    Raises UsageError for a malformed reference.
    """
    reference = parse_reference(text)
    if reference.transport in _PATH_TRANSPORTS:
        # `PATH[:TAG]`; a tag may have slashes of its own, so the first colon ends the path.
        last = reference.name.partition(":")[0].rstrip("/").rpartition("/")[2]
        return _ARCHIVE_SUFFIX.sub("", last).strip(".") or None
    last = reference.name.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[0] or None


def file_stem(name: str) -> str:
    """A name as the beginning of file names: lower-cased, `/` and spaces as `-`."""
    return name.lower().replace("/", "-").replace(" ", "-")
