"""What is parsed at the edge can't be wrong inside."""

from __future__ import annotations

import pytest
from fledge.values import ByteSize, Digest, GuestPath, Platform, show_path


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 128,
        "sha512:" + "0" * 64,
        "md5:" + "0" * 32,
        "sha256:../../../../etc/passwd",
        "sha256:" + "0" * 64 + "\n",
        "",
        None,
        7,
    ],
)
def test_case_056_a_malformed_digest_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="malformed digest"):
        Digest.parse(text)


@pytest.mark.parametrize("text", ["sha256:" + "0a" * 32, "sha512:" + "0a" * 64])
def test_digest_round_trip(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("512M", 512 << 20), ("1G", 1 << 30), ("2k", 2048), ("3GiB", 3 << 30)]
)
def test_byte_size(text: str, size: int) -> None:
    assert ByteSize.parse(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1 G", "1X", "1GG"])
def test_malformed_byte_size(text: str) -> None:
    with pytest.raises(ValueError, match="malformed size"):
        ByteSize.parse(text)


@pytest.mark.parametrize("text", ["linux", "linux/", "/amd64", "a/b/c/d"])
def test_malformed_platform(text: str) -> None:
    with pytest.raises(ValueError, match="malformed platform"):
        Platform.parse(text)


@pytest.mark.parametrize("text", ["/a..b", "/..a", "/a..", "/a/...", "//a/./b"])
def test_case_072_dots_within_a_name_are_allowed(text: str) -> None:
    assert GuestPath.parse(text).parts


@pytest.mark.parametrize("text", ["a", "", "/a/../b", "/..", "/a\0b", "/" + "n" * 256, "/" + "n/" * 2048])
def test_paths_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        GuestPath.parse(text)


def test_paths_are_shown_on_one_line() -> None:
    assert show_path(b"a\nb\xff") == r"/a\nb\xff"
