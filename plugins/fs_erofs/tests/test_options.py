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
