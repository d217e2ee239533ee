"""What every filesystem must do, with btrfs's own facts."""

from __future__ import annotations

from typing import ClassVar

from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, links_of


class TestBtrfs(FilesystemConformance):
    name = "btrfs"
    options: ClassVar = {"size_buffer_mb": 1}
    kernel = "btrfs"
    limits = (NAME, Limit("hard links", links_of, 65_535))
    variants = ({"preallocate": True},)
