"""The keys of `[agent]` for `release`."""

from __future__ import annotations

import re
from typing import Final

from fledge.checksum import Checksum
from fledge.options import Options
from pydantic import field_validator

LATEST: Final = "latest"

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")


class ReleaseOptions(Options):
    """Which release of which repository, and what its binary must be."""

    version: str = LATEST
    """A release's tag, such as `v0.6.5`, or `latest`."""
    repository: str = "volantvm/volant"
    """`owner/name` on GitHub."""
    checksum: Checksum | None = None
    """`sha256:<hex>` of the binary. With it, nothing is fetched, nor GitHub asked, when the cache has it."""

    @field_validator("version")
    @classmethod
    def _is_a_tag(cls, version: str) -> str:
        if not version or not version.isprintable() or " " in version:
            raise ValueError(f"'{version}' is no tag of a release; expected one such as v0.6.5, or latest")
        return version

    @field_validator("repository")
    @classmethod
    def _is_a_repository(cls, repository: str) -> str:
        if not _REPOSITORY.fullmatch(repository) or repository.endswith(("/.", "/..")):
            raise ValueError(f"'{repository}' is no repository; expected owner/name, such as volantvm/volant")
        return repository
