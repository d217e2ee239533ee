"""What every filesystem must do, with ext4's own facts."""

from __future__ import annotations

from typing import ClassVar

from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, file_of, links_of


class TestExt4(FilesystemConformance):
    name = "ext4"
    options: ClassVar = {"size_buffer_mb": 1}
    kernel = "ext4"
    only_mounted = (b"lost+found",)
    limits = (
        NAME,
        Limit("hard links", links_of, 65_000),
        Limit("bytes in a file", file_of, 16 * (1 << 40) - 4096),
    )
    variants = ({"journal": False}, {"preallocate": True})
