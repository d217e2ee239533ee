"""Base images with a transport (`FROM oci:./layout`), whose names Docker's own builders take for malformed ones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from fledge.errors import BuildError
from fledge.image.reference import parse_reference
from fledge.sources import DockerfileRequest, ImageRequest, ImageSource

_FROM: Final = re.compile(
    r"^(\s*FROM\s+(?:--\S+\s+)*)((?:docker://|docker-daemon:|docker-archive:|oci:|oci-archive:)\S+)",
    re.IGNORECASE | re.MULTILINE,
)


def rename_bases(text: str, name_of: Callable[[str], str]) -> str:
    """A Dockerfile with other names for its base images with a transport; all else stays, and so do the lines' numbers."""
    return _FROM.sub(lambda found: f"{found[1]}{name_of(found[2])}", text)


def with_renamed_bases(
    request: DockerfileRequest,
    fetch_base: Callable[[ImageRequest], ImageSource],
    hand: Callable[[ImageSource], str],
    folder: Path,
) -> DockerfileRequest:
    """The request with a Dockerfile in `folder` in which its base images with a transport have other names.

    Each is fetched once and handed to the builder's program by `hand`, which gives its name there. Without any, the
    request as it is. Only names that stand in the file as they are, not those with an ARG in them. Raises BuildError.
    """
    names: dict[str, str] = {}

    def name_of(base: str) -> str:
        if base not in names:
            names[base] = hand(fetch_base(ImageRequest(parse_reference(base), request.platform, request.base_dir)))
        return names[base]

    dockerfile = request.dockerfile
    try:
        text = rename_bases(dockerfile.read_text(encoding="utf-8", errors="surrogateescape"), name_of)
        if not names:
            return request
        renamed = folder / dockerfile.name
        renamed.write_text(text, encoding="utf-8", errors="surrogateescape")
        # BuildKit looks for a .dockerignore of its own beside a Dockerfile.
        ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
        if ignore.exists():
            shutil.copy(ignore, folder)
    except OSError as error:
        raise BuildError(f"can't read {dockerfile}: {error.strerror}") from error
    return replace(request, dockerfile=renamed)
