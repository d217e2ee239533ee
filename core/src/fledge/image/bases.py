"""Base images that only Fledge and buildah understand: `FROM oci:./layout`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

_FROM: Final = re.compile(
    r"^(\s*FROM\s+(?:--\S+\s+)*)((?:docker://|docker-daemon:|docker-archive:|oci:|oci-archive:)\S+)",
    re.IGNORECASE | re.MULTILINE,
)


def base_with_transport(dockerfile: Path) -> str | None:
    """The first base image of a Dockerfile that names its transport, which Docker's own builders take for a malformed name.

    None when there is none, or when the file can't be read: its builder says that better.
    """
    try:
        found = _FROM.search(dockerfile.read_text(errors="replace"))
    except OSError:
        return None
    return found[2] if found is not None else None


def rename_bases(text: str, name_of: Callable[[str], str]) -> str:
    """A Dockerfile with other names for its base images with a transport; all else stays, and so do the lines' numbers."""
    return _FROM.sub(lambda found: f"{found[1]}{name_of(found[2])}", text)
