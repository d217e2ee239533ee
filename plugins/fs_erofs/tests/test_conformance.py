"""What every filesystem must do, with erofs's own facts."""

from __future__ import annotations

from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, xattr_of


class TestErofs(FilesystemConformance):
    name = "erofs"
    kernel = "erofs"
    limits = (NAME, Limit("bytes in an xattr", xattr_of, 65_535))
    variants = ({"compression": "none"}, {"compression_level": 9})
