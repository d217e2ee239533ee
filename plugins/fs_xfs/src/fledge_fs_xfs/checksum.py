"""crc32c as XFS uses it: over the whole structure, with zeros in the place of the checksum, stored little-endian."""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c

crc32c: Callable[[bytes], int] = google_crc32c.value


def seal(block: bytes, at: int) -> bytes:
    """`block` with its checksum at `at`, where zeros stand."""
    return b"".join((block[:at], crc32c(block).to_bytes(4, "little"), block[at + 4 :]))


def is_sealed(block: bytes, at: int) -> bool:
    """Whether the checksum at `at` is right."""
    cleared = b"".join((block[:at], b"\0\0\0\0", block[at + 4 :]))
    return crc32c(cleared) == int.from_bytes(block[at : at + 4], "little")
