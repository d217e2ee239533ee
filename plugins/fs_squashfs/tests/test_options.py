"""The keys of `[filesystem]` for squashfs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fledge.testing.oracles import need_root, need_tool, run
from fledge_fs_squashfs.driver import Squashfs
from fledge_fs_squashfs.options import SquashfsOptions
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({}, 15),
        ({"compression_level": 15, "overlay_size": "1G"}, 15),
        ({"compression_level": 1}, 1),
        ({"compression_level": 22}, 22),
        ({"compression": "xz"}, 6),
        ({"compression": "xz", "compression_level": 0}, 0),
        ({"compression": "gzip"}, 9),
        ({"compression": "gzip", "compression_level": 1}, 1),
    ],
)
def test_levels(given, level):
    assert SquashfsOptions.model_validate(given).level == level


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"compression_level": 0}, "compression_level 0 is not one that zstd has; allowed are 1 to 22"),
        ({"compression_level": 23}, "compression_level 23 is not one that zstd has; allowed are 1 to 22"),
        ({"compression": "xz", "compression_level": 15}, "15 is not one that xz has; allowed are 0 to 9"),
        ({"compression": "gzip", "compression_level": 0}, "0 is not one that gzip has; allowed are 1 to 9"),
        ({"compression": "lz4"}, "'zstd', 'xz' or 'gzip'"),
        ({"compression_levle": 9}, "Extra inputs are not permitted"),
        ({"block_size": 100_000}, "100000 is not a power of two from 4096 to 1048576"),
        ({"block_size": 2048}, "2048 is not a power of two"),
        ({"block_size": 1 << 21}, "2097152 is not a power of two"),
    ],
)
def test_what_is_wrong_and_what_is_allowed(given, message):
    with pytest.raises(ValidationError) as caught:
        SquashfsOptions.model_validate(given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("compression", "expected"),
    [
        ("zstd", ["SQUASHFS", "SQUASHFS_ZSTD", "SQUASHFS_XATTR"]),
        ("xz", ["SQUASHFS", "SQUASHFS_XZ", "SQUASHFS_XATTR"]),
        ("gzip", ["SQUASHFS", "SQUASHFS_ZLIB", "SQUASHFS_XATTR"]),
    ],
)
@pytest.mark.parametrize("with_xattr", [True, False])
def test_what_a_kernel_needs(tmp_path: Path, compression: str, expected: list[str], with_xattr: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"content")
    if with_xattr:
        need_root()
        os.setxattr(root / "file", "trusted.a", b"1")
    image = tmp_path / "image"
    run(need_tool("mksquashfs", "squashfs-tools"), root, image, "-comp", compression, "-quiet", "-no-progress")
    features = Squashfs.kernel_features(image.read_bytes()[:4096])
    assert [feature.symbol for feature in features] == (expected if with_xattr else expected[:2])
    assert features[0].module == "squashfs"
    assert not Squashfs.writable
