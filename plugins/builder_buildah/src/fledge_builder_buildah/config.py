"""The image's config, without what Docker's format tells of the container that it was made in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from fledge.image.parse_config import parse_config
from fledge.sources import ImageSource
from fledge.values import Digest, Platform

_OF_THE_BUILD: Final = frozenset({"container", "container_config", "parent"})
_OF_THE_CONTAINER: Final = frozenset(
    {"Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image"}
)


def without_container(image: ImageSource, platform: Platform) -> ImageSource:
    """The same image with a config that the next build gives again: ids and host names are random."""
    document: dict[str, Any] = json.loads(image.config.raw)
    kept = {key: value for key, value in document.items() if key not in _OF_THE_BUILD}
    kept["config"] = {key: value for key, value in document["config"].items() if key not in _OF_THE_CONTAINER}
    raw = json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()
    config = parse_config(raw, f"{image.reference}: config", platform)
    return replace(image, config=config, digest=Digest.of(raw))
