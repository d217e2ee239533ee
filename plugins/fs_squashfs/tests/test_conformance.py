"""What every filesystem must do, with squashfs's own facts."""

from __future__ import annotations

from typing import ClassVar

from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, owners_of


class TestSquashfs(FilesystemConformance):
    name = "squashfs"
    options: ClassVar = {"compression_level": 1}
    kernel = "squashfs"
    lacks = ("acls",)
    limits = (NAME, Limit("users", owners_of, 65_535))
    variants = (
        {"compression": "xz"},
        {"compression": "gzip"},
        {"block_size": 4096},
        {"block_size": 1 << 20},
    )
