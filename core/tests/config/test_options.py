"""The options that filesystems share."""

from __future__ import annotations

import pytest
from fledge.options import DiskOptions, OverlayOptions
from pydantic import ValidationError

MIB = 1 << 20


@pytest.mark.parametrize("size", ["512M", "1G", "50%", "1%", "100%", "64K", "2T"])
def test_overlay_sizes(size: str) -> None:
    assert OverlayOptions(overlay_size=size).overlay_size == size


@pytest.mark.parametrize("size", ["", "0M", "0%", "101%", "1", "-1G", "1.5G", "1g", "G", "50 %", "1G\n", "1GB"])
def test_what_is_no_overlay_size(size: str) -> None:
    with pytest.raises(ValidationError, match="is not a size with K, M, G or T, such as 512M, nor 1% to 100%"):
        OverlayOptions(overlay_size=size)


@pytest.mark.parametrize(
    ("size_buffer_mb", "content", "free"),
    [
        (0, 0, 64 * MIB),
        (0, 256 * MIB, 64 * MIB),
        (0, 1024 * MIB, 256 * MIB),
        (0, 4096 * MIB, 1024 * MIB),
        (0, 40960 * MIB, 1024 * MIB),
        (1, 4096 * MIB, MIB),
        (5000, 0, 5000 * MIB),
    ],
)
def test_free_space_follows_the_content_unless_it_was_given(size_buffer_mb: int, content: int, free: int) -> None:
    assert DiskOptions(size_buffer_mb=size_buffer_mb).free_space(content) == free
