"""The keys of `[filesystem]` for erofs."""

from __future__ import annotations

import pytest
from fledge_fs_erofs.options import ErofsOptions
from pydantic import ValidationError


def test_the_defaults() -> None:
    assert ErofsOptions() == ErofsOptions(compression="lz4", compression_level=0, overlay_size="1G")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"compression": "zstd"}, "'lz4' or 'none'"),
        ({"compression_level": -1}, "greater than or equal to 0"),
        ({"compression_level": 13}, "less than or equal to 12"),
        (
            {"compression": "none", "compression_level": 3},
            'compression_level 3 is for lz4, not for compression = "none"',
        ),
        ({"compression_levle": 9}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_and_what_is_allowed(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ErofsOptions.model_validate(given)
    assert message in str(caught.value)


@pytest.mark.parametrize("size", ["512M", "1G", "50%", "1%", "100%", "64K", "2T"])
def test_overlay_sizes(size: str) -> None:
    assert ErofsOptions(overlay_size=size).guest_overlay_size() == size


@pytest.mark.parametrize("size", ["", "0M", "0%", "101%", "1", "-1G", "1.5G", "1g", "G", "50 %", "1G\n", "1GB"])
def test_what_is_no_overlay_size(size: str) -> None:
    with pytest.raises(ValidationError, match="is not a size with K, M, G or T, such as 512M, nor 1% to 100%"):
        ErofsOptions(overlay_size=size)
