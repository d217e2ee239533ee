"""Tar headers on disk: POSIX.1-1988 ustar, its ancestor v7, and the GNU variant. Declarations and arithmetic only."""

from __future__ import annotations

import struct
from typing import Final

BLOCK: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK)

HEADER: Final = struct.Struct(
    "<100s"  # name
    "24s"  # mode, uid, gid: 8 bytes each
    "12s"  # size
    "12s"  # mtime
    "8s"  # chksum
    "c"  # typeflag
    "100s"  # linkname
    "8s"  # magic and version
    "64x"  # uname, gname: image-spec layer.md has them ignored where there are numbers
    "16s"  # devmajor, devminor: 8 bytes each
    "155s"  # prefix
    "12s"  # unused, but see STAR_TRAILER
)
assert HEADER.size == BLOCK

USTAR_MAGIC: Final = b"ustar\0"
GNU_MAGIC: Final = b"ustar  \0"
STAR_TRAILER: Final = b"tar\0"
"""The last four bytes of Schily's star headers: there the prefix has 131 bytes, and atime and ctime follow it."""
STAR_PREFIX: Final = 131

# GNU's sparse header (typeflag S) has its map where ustar has the prefix.
SPARSE_MAP: Final = 386
SPARSE_IN_HEADER: Final = 4
SPARSE_ENTRY: Final = 24
SPARSE_MORE: Final = SPARSE_MAP + SPARSE_IN_HEADER * SPARSE_ENTRY
SPARSE_SIZE: Final = SPARSE_MORE + 1
SPARSE_IN_BLOCK: Final = 21
SPARSE_BLOCK_MORE: Final = SPARSE_IN_BLOCK * SPARSE_ENTRY


def padded(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return (size + BLOCK - 1) & -BLOCK


def text(field: bytes) -> bytes:
    """A string field: up to the first NUL, or all of it where there is none."""
    return field.partition(b"\0")[0]


def number(field: bytes, what: str) -> int:
    """A numeric field: octal digits padded with spaces and NULs, or GNU's base-256, which can be negative.

    Raises ValueError for anything else. An empty field is 0, as everywhere: v7 leaves what it doesn't know empty.
    """
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    # int() takes signs, underscores and 0o as well.
    if digits.strip(b"01234567"):
        raise ValueError(f"its {what} {digits!r} is not an octal number")
    return int(digits, 8) if digits else 0


def expected_sum(chksum: bytes) -> int:
    """What the bytes of a sound header with this checksum field come to: POSIX sums the field itself as spaces.

    Raises ValueError where the field is not a number.
    """
    return number(chksum, "checksum") + sum(chksum) - len(chksum) * ord(" ")


def signed_sum(block: bytes) -> int:
    """The sum of the bytes as signed numbers: tars of before POSIX summed chars, which were signed on most machines."""
    return sum(byte - 256 if byte > 127 else byte for byte in block)
