"""What every filesystem must do, with btrfs's own facts."""

from __future__ import annotations

from typing import ClassVar

import pytest
from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, links_of

pytestmark = pytest.mark.xdist_group("btrfs")
"""Equal trees have equal UUIDs, and a kernel before 6.7 mounts one of them at a time."""


class TestBtrfs(FilesystemConformance):
    name = "btrfs"
    options: ClassVar = {"size_buffer_mb": 1}
    kernel = "btrfs"
    limits = (NAME, Limit("hard links", links_of, 65_535))
    variants = ({"preallocate": True},)
