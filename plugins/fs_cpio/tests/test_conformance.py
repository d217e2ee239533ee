"""What every filesystem must do, with cpio's own facts."""

from __future__ import annotations

from typing import ClassVar

from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, file_of


class TestCpio(FilesystemConformance):
    name = "cpio"
    options: ClassVar = {"compression_level": 1}
    lacks = ("xattrs",)
    limits = (NAME, Limit("bytes in a file", file_of, (1 << 32) - 1, fits=False))
    variants = (
        {"compression": "zstd"},
        {"compression": "none", "compression_level": None},
        {"xattrs": "drop"},
    )
