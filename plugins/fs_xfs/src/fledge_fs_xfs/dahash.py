"""The hash by which directories and attributes are indexed (xfs_da_hashname in fs/xfs/libxfs/xfs_da_btree.c).

For each byte: rotate left by seven bits, then xor. Computed for many names at once: a Python integer holds the hash
of each name in a lane of 32 bits. A zero byte leaves a hash of zero as it is, so names are filled up on the left.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

_BATCH: Final = 1024
"""Names at once: few enough for the integers to stay in the processor's cache."""
_FEW: Final = 8
_WORD: Final = 0xFFFFFFFF


def hash_names(names: Sequence[bytes]) -> list[int]:
    """The hash of each name."""
    if len(names) < _FEW:
        return [hash_name(name) for name in names]
    hashes: list[int] = []
    for first in range(0, len(names), _BATCH):
        hashes += _hash_batch(names[first : first + _BATCH])
    return hashes


def hash_name(name: bytes) -> int:
    """The hash of one name."""
    value = 0
    for byte in name:
        value = (value << 7 & _WORD) ^ (value >> 25) ^ byte
    return value


def _hash_batch(names: Sequence[bytes]) -> list[int]:
    count = len(names)
    words = (max(map(len, names)) + 3) // 4
    width = words * 4
    ones = int.from_bytes(b"\0\0\0\1" * count, "big")
    every = int.from_bytes(b"\0\0\0\1" * (count * words), "big")
    padded = int.from_bytes(b"".join([name.rjust(width, b"\0") for name in names]), "big")
    # Four bytes of a name are one word; each byte is moved to where the rotations behind it will take it.
    spread = (
        (padded & 0xFF * every)
        ^ (padded & 0xFF00 * every) >> 1
        ^ (padded & 0xFF0000 * every) >> 2
        ^ (padded & 0xFF000000 * every) >> 3
    )
    columns = memoryview(spread.to_bytes(count * width, "big")).cast("I")
    low, rest = 0xF * ones, 0x0FFFFFFF * ones
    state = 0
    for word in range(words):
        turned = (state & low) << 28 | state >> 4 & rest
        state = turned ^ int.from_bytes(columns[word::words].tobytes(), "big")
    return list(struct.unpack(f">{count}I", state.to_bytes(count * 4, "big")))
