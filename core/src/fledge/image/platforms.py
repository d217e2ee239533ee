"""Which manifest of an index is for a platform (image-spec image-index.md, "platform"; variants as in Go's GOARM)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from fledge.image.documents import IndexEntry
from fledge.values import Platform

_ALIASES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_BASE: Final = {"amd64": (1, 0), "arm64": (8, 0), "arm": (7, 0)}
"""What an architecture without a variant means."""
_VARIANT: Final = re.compile(r"v([0-9]{1,3})(?:\.([0-9]{1,3}))?")

_Level = tuple[int, int]


def best_match(entries: Sequence[IndexEntry], wanted: Platform) -> IndexEntry | None:
    """The entry that runs on `wanted` and makes the most of it; of equals the first; None when none does.

    A machine runs what is made for its own variant and for lower ones: arm/v7 runs arm/v6, never arm64.
    """
    best: tuple[_Level, IndexEntry] | None = None
    for entry in entries:
        if entry.platform is None or not runs_on(entry.platform, wanted):
            continue
        level = _level(entry.platform) or (0, 0)
        if best is None or level > best[0]:
            best = (level, entry)
    return best[1] if best else None


def runs_on(image: Platform, machine: Platform) -> bool:
    """Whether an image for `image` runs on `machine`."""
    if not same_architecture(image, machine):
        return False
    needed, there = _level(image), _level(machine)
    if needed is None or there is None:  # A variant that no rule knows matches itself only.
        return image.variant == machine.variant
    return needed <= there


def same_architecture(one: Platform, other: Platform) -> bool:
    """Whether both agree but for the variant, which configs often leave out."""
    return one.os == other.os and _architecture(one) == _architecture(other)


def listing(platforms: Iterable[Platform]) -> str:
    """Platforms for a message, each once; attestations (unknown/unknown) are not images."""
    names = dict.fromkeys(str(platform) for platform in platforms if platform.os != "unknown")
    return ", ".join(names) or "none"


def _architecture(platform: Platform) -> str:
    return _ALIASES.get(platform.architecture, platform.architecture)


def _level(platform: Platform) -> _Level | None:
    if platform.variant is None:
        return _BASE.get(_architecture(platform), (0, 0))
    match = _VARIANT.fullmatch(platform.variant)
    return (int(match[1]), int(match[2] or 0)) if match else None
