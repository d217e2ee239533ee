"""crc32c as btrfs uses it: of blocks and data as everybody does, of names with seeds of its own.

Values are those of the library, which inverts before and after; the kernel's hashes of names do neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google_crc32c import extend as _extend
from google_crc32c import value as _value

crc32c: Callable[[bytes], int] = _value
_INVERT: Final = 0xFFFFFFFF
_NAME_SEED: Final = _INVERT ^ 0xFFFFFFFE


def name_hash(name: bytes) -> int:
    """The offset of the key under which a directory's entry or an xattr stands."""
    hashed: int = _extend(_NAME_SEED, name)
    return hashed ^ _INVERT


def extref_hash(parent: int, name: bytes) -> int:
    """The offset of the key of an INODE_EXTREF."""
    hashed: int = _extend(parent & _INVERT ^ _INVERT, name)
    return hashed ^ _INVERT
