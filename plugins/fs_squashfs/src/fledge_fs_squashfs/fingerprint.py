"""What the contents of all files are, as digests of their blocks: for finding duplicates and blocks kept before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from struct import Struct
from typing import Final

from fledge.tree.content import Content
from fledge.workers import ordered

from fledge_fs_squashfs.parts import ContentReader

RECORD: Final = Struct("<Q32s")
"""Number of a block that is not all zeros, and its sha256."""

_BATCH_BYTES: Final = 2 << 20
_BATCH_BLOCKS: Final = 512

_Unit = tuple[int, Content, int]
"""Which content, itself, and the number of the block."""


def fingerprints(pool: Executor, contents: Sequence[Content], block_size: int) -> list[bytes]:
    """For each content the RECORDs of its blocks; two contents of one size are equal when these are."""
    found: list[list[bytes]] = [[] for _ in contents]
    zeros = hashlib.sha256(bytes(block_size)).digest()
    pack = RECORD.pack

    def digest(units: list[_Unit]) -> list[bytes]:
        reader = ContentReader()
        digests = []
        for _, content, block in units:
            start = block * block_size
            length = min(block_size, content.size - start)
            value = hashlib.sha256(reader.read(content, start, length)).digest()
            digests.append(b"" if value == zeros else pack(block, value))
        reader.release()
        return digests

    for units, digests in ordered(pool, digest, _batches(contents, block_size), 64):
        for (index, _, _), record in zip(units, digests, strict=True):
            found[index].append(record)
    return [records[0] if len(records) == 1 else b"".join(records) for records in found]


def _batches(contents: Sequence[Content], block_size: int) -> Iterator[list[_Unit]]:
    """All blocks that a piece reaches into, in portions that are worth handing to a thread."""
    units: list[_Unit] = []
    size = 0
    for index, content in enumerate(contents):
        if content.size == 0:
            continue
        if content.size <= block_size:
            units.append((index, content, 0))
            size += content.size
            if size >= _BATCH_BYTES or len(units) >= _BATCH_BLOCKS:
                yield units
                units, size = [], 0
            continue
        done = 0
        for piece in content.pieces:
            for block in range(max(done, piece.offset // block_size), -(-(piece.offset + piece.length) // block_size)):
                units.append((index, content, block))
                done = block + 1
                size += block_size
                if size >= _BATCH_BYTES or len(units) >= _BATCH_BLOCKS:
                    yield units
                    units, size = [], 0
    if units:
        yield units
