"""The names that images give to artifacts and files."""

from __future__ import annotations

import re

_ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.[a-z0-9]+)?|tgz)$", re.IGNORECASE)
_TRANSPORT = re.compile(r"(oci|oci-archive|docker-archive|docker-daemon|docker):(?=.)")
_FILES = frozenset({"oci", "oci-archive", "docker-archive"})


def name_of_image(reference: str) -> str | None:
    """The last component of the image's path, without tag and digest; None when nothing is left.

    `docker://ghcr.io/acme/Web:1.2@sha256:...` is `Web`; of an archive, the file's name without `.tar`.
    """
    match = _TRANSPORT.match(reference)
    transport = match[1] if match else "docker"
    path = reference[match.end() :] if match else reference
    if transport in _FILES:
        # `PATH[:TAG]`, in which the tag may hold slashes (org.opencontainers.image.ref.name does).
        last = path.partition(":")[0].rstrip("/").rpartition("/")[2]
        return _ARCHIVE_SUFFIX.sub("", last).strip(". ") or None
    last = path.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[0] or None


def file_stem(name: str) -> str:
    """A name as the beginning of file names: lower-cased, `/` and spaces as `-`."""
    return name.lower().replace("/", "-").replace(" ", "-")
