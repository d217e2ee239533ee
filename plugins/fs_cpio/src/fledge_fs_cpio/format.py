"""The newc format, as Documentation/driver-api/early-userspace/buffer-format.rst of Linux has it. Declarations only."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

MAGIC: Final = b"070701"
MAGIC_CHECKSUM: Final = b"070702"
"""The same with a sum of the contents in the last field."""

FIELDS: Final = 13
HEADER_SIZE: Final = len(MAGIC) + 8 * FIELDS
ALIGNMENT: Final = 4
"""Of headers and contents, from where the archive begins."""

TRAILER: Final = b"TRAILER!!!"
"""The name that ends an archive, whatever else stands in its entry."""

ROOT: Final = b"."

MAX_FIELD: Final = 2**32 - 1
"""Of every number: a file's size in bytes, its mtime in seconds since 1970, an owner."""

MAX_PATH: Final = 4095
"""Bytes of a name; the kernel passes over an entry whose name has more than PATH_MAX with its NUL."""

_HEADER: Final = MAGIC + b"%08X" * FIELDS
_NUMBERS: Final = struct.Struct(f">{FIELDS}I")


class Header(NamedTuple):
    """The numbers of an entry, in their order."""

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    mtime: int
    size: int
    dev_major: int = 0
    dev_minor: int = 0
    rdev_major: int = 0
    rdev_minor: int = 0
    name_size: int = 0
    """With its NUL."""
    checksum: int = 0


def padding(size: int) -> bytes:
    """The zeros that follow something that ends `size` bytes after an aligned place."""
    return bytes(-size % ALIGNMENT)


def aligned(size: int) -> int:
    """`size` rounded up."""
    return (size + ALIGNMENT - 1) & -ALIGNMENT


def entry(
    name: bytes,
    ino: int,
    mode: int,
    uid: int,
    gid: int,
    nlink: int,
    mtime: int,
    size: int,
    rdev: tuple[int, int] = (0, 0),
) -> bytes:
    """A header with its name and padding; every inode stands on device 0:0."""
    head = _HEADER % (ino, mode, uid, gid, nlink, mtime, size, 0, 0, *rdev, len(name) + 1, 0) + name + b"\0"
    return head + padding(len(head))


def entry_size(name: bytes) -> int:
    """Bytes that `entry` gives."""
    return aligned(HEADER_SIZE + len(name) + 1)


def parse_header(head: bytes) -> Header:
    """`head`: HEADER_SIZE bytes that begin with a magic. Raises ValueError where a field is no hexadecimal number."""
    try:
        numbers = bytes.fromhex(head[len(MAGIC) :].decode("ascii"))
        return Header(*_NUMBERS.unpack(numbers))  # fromhex() skips blanks, which leaves too little for unpack().
    except (ValueError, struct.error):
        raise ValueError(f"its header has a number that is not hexadecimal: {head!r}") from None
