"""GNU tar's four encodings of sparse files, turned into extents (GNU tar manual, "Storing Sparse Files")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fledge.tree import tar_format as tf

MAX_EXTENTS: Final = 1 << 17
"""A map is read into memory; without a bound a small layer could ask for all of it (CVE-2025-58183 in Go)."""

Extents = list[tuple[int, int]]
"""(offset in the file, length): where data stands; the stored data follow each other in this order."""


class NeedMore(Exception):  # noqa: N818
    """The map goes on past the bytes that are there; not an error."""


def old_gnu(data: bytes, at: int) -> tuple[int, Extents, int]:
    """The map of a header of type S at `at`: the file's size, its extents, and where the map ends.

    Raises ValueError, and NeedMore where the blocks that continue the map are not in `data` yet.
    """
    size = tf.number(data[at + tf.SPARSE_SIZE : at + tf.SPARSE_SIZE + 12], "real size")
    tables = [(at + tf.SPARSE_MAP, at + tf.SPARSE_MORE)]
    # Whether all of it is there comes first, so that a map which arrives in portions is not parsed for each.
    while data[tables[-1][1]]:
        at += tf.BLOCK
        tables.append((at, at + tf.SPARSE_BLOCK_MORE))
        if len(tables) * tf.SPARSE_IN_BLOCK > MAX_EXTENTS:
            raise ValueError(f"more than {MAX_EXTENTS} extents in a sparse file")
        if at + tf.BLOCK > len(data):
            raise NeedMore
    extents = [extent for start, stop in tables for extent in _entries(data[start:stop])]
    return size, extents, at + tf.BLOCK


def _entries(table: bytes) -> Extents:
    extents = []
    for at in range(0, len(table), tf.SPARSE_ENTRY):
        offset, length = table[at : at + 12], table[at + 12 : at + 24]
        if not offset[0]:
            break
        extents.append((tf.number(offset, "sparse offset"), tf.number(length, "sparse length")))
    return extents


def from_pax(records: Mapping[bytes, bytes], data: bytes, at: int, stored: int) -> tuple[int, Extents, int] | None:
    """What the records say: the file's size, its extents, and how many of the `stored` bytes at `at` are the map.

    None for a file that is not sparse. Raises ValueError and NeedMore.
    """
    version = records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor")
    used = 0
    if version == (b"1", b"0"):
        extents, used = _map_1_0(data, at, stored)
    elif b"GNU.sparse.map" in records and version in ((None, None), (b"0", b"0"), (b"0", b"1")):
        text = records[b"GNU.sparse.map"]
        extents = _pairs(text.split(b",") if text else [])
    elif any(key.startswith(b"GNU.sparse.") for key in records):
        raise ValueError("a sparse file in a version of the format that is not supported")
    else:
        return None
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size") or b""
    return _decimal(size), extents, used


def _map_1_0(data: bytes, at: int, stored: int) -> tuple[Extents, int]:
    # Lines of decimal numbers before the data: how many extents, then offset and length of each; NULs fill the block.
    lines: list[bytes] = []
    wanted = 1
    used = 0
    tail = b""
    while len(lines) < wanted:
        if used + tf.BLOCK > tf.padded(stored):
            raise ValueError("the map of a sparse file is longer than its data")
        block = data[at + used : at + used + tf.BLOCK]
        if len(block) < tf.BLOCK:
            raise NeedMore
        used += tf.BLOCK
        *full, tail = (tail + block).split(b"\n")
        lines += full
        if len(tail) > tf.BLOCK:
            raise ValueError("the map of a sparse file has a line without an end")
        if wanted == 1 and lines:
            count = _decimal(lines[0])
            if count > MAX_EXTENTS:
                raise ValueError(f"more than {MAX_EXTENTS} extents in a sparse file")
            wanted = 1 + 2 * count
    return _pairs(lines[1:wanted]), used


def _pairs(numbers: Sequence[bytes]) -> Extents:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_EXTENTS:
        raise ValueError(f"the map of a sparse file has {len(numbers)} numbers")
    values = [_decimal(value) for value in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise ValueError(f"{value[:40]!r} in the map of a sparse file is not a number")
    return int(value)


def place(extents: Extents, size: int, stored: int, start: int) -> list[tuple[int, int, int]]:
    """The extents as (offset in the file, start in the tar, length), where the stored data begin at `start`.

    Empty ones are left out. Raises ValueError unless they rise without overlap, end within `size`, and have `stored`
    bytes in all.
    """
    placed = []
    end = 0
    at = start
    for offset, length in extents:
        if offset < end or length < 0 or offset + length > size:
            raise ValueError(f"a sparse file of {size} bytes with an extent of {length} bytes at {offset}")
        end = offset + length
        if length:
            placed.append((offset, at, length))
        at += length
    if at - start != stored or size >= 1 << 63:
        raise ValueError(
            f"a sparse file of {size} bytes whose map has {at - start} bytes of data, and {stored} are stored"
        )
    return placed
