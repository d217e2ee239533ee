from __future__ import annotations

import pytest
from fledge.image.descriptor import Descriptor
from fledge.image.documents import OCI_MANIFEST, IndexEntry
from fledge.image.platforms import best_match, listing
from fledge.values import Digest, Platform


def best(wanted: str, *there: str) -> int | None:
    entries = [
        IndexEntry(Descriptor(OCI_MANIFEST, Digest.of(bytes([i])), i), Platform.parse(text) if text else None, {})
        for i, text in enumerate(there)
    ]
    found = best_match(entries, Platform.parse(wanted))
    return entries.index(found) if found else None


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["windows/amd64", "linux/386"], None),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", ["linux/x86_64"], 0),
        ("linux/amd64", ["linux/amd64/v2"], None),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/amd64/v1", ["linux/amd64"], 0),
        ("linux/arm64", ["linux/arm64/v8"], 0),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm64", ["linux/arm64/v9", "linux/aarch64"], 1),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v8.2", "linux/arm64/v9"], 2),
        ("linux/arm64", ["linux/arm/v7"], None),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5", "linux/arm/v6"], 2),
        ("linux/arm/v6", ["linux/arm"], None),
        ("linux/arm/v7", ["linux/arm"], 0),
        ("linux/ppc64le", ["linux/ppc64le"], 0),
        ("linux/mips/softfloat", ["linux/mips", "linux/mips/softfloat"], 1),
        ("linux/amd64", ["unknown/unknown", ""], None),
        ("linux/amd64", [], None),
    ],
)
def test_case_066_choice(wanted: str, there: list[str], expected: int | None) -> None:
    assert best(wanted, *there) == expected


def test_case_066_listing() -> None:
    platforms = [Platform.parse(text) for text in ("linux/arm64/v8", "unknown/unknown", "linux/386", "linux/386")]
    assert listing(platforms) == "linux/arm64/v8, linux/386"
    assert listing([]) == "none"
