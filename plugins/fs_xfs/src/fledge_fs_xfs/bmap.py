"""The fork of an inode that maps its logical blocks to those of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fledge.blocks import Extent, Run

from fledge_fs_xfs.btree import levels, split
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.format import (
    BLOCK,
    BMBT_MAGIC,
    BMBT_RECORDS,
    BMBT_ROOT,
    EXTENT,
    FORMAT_BTREE,
    FORMAT_EXTENTS,
    LONG_BLOCK,
    LONG_BLOCK_CRC,
    MAX_EXTENT,
    NULL_LONG,
    SECTORS_PER_BLOCK,
)
from fledge_fs_xfs.metadata import MetadataBlocks

_SHORTEST_STRETCH = 2048
"""Blocks between two places that contents go around: the least is what the log leaves of the smallest group."""


class Fork(NamedTuple):
    """What an inode says of a fork. `root`: what stands in the inode itself."""

    format: int
    root: bytes
    extents: int
    blocks: int
    """With those of the B+tree."""


NO_EXTENTS = Fork(FORMAT_EXTENTS, b"", 0, 0)


def most_tree_blocks(runs: Sequence[Run], room: int) -> int:
    """Blocks of the B+tree at most, wherever the runs are placed. `room`: bytes of the fork."""
    blocks = sum(count for _, count in runs)
    extents = len(runs) + 1 + blocks // _SHORTEST_STRETCH + blocks // MAX_EXTENT
    return sum(_levels(extents, room))


def contiguous(logical: int, blocks: Sequence[int]) -> list[Extent]:
    """The extents of `blocks`, which stand for the logical blocks from `logical` on."""
    extents: list[Extent] = []
    for at, block in enumerate(blocks, logical):
        if extents and block == extents[-1][1] + extents[-1][2]:
            extents[-1] = (*extents[-1][:2], extents[-1][2] + 1)
        else:
            extents.append((at, block, 1))
    return extents


def fork(extents: Sequence[Extent], room: int, owner: int, blocks: MetadataBlocks) -> Fork:
    """Maps `extents`, in the inode if that has room for them. `room`: bytes of the fork; `owner`: the inode's number."""
    address = blocks.address
    mapped = sum([count for _, _, count in extents])
    # 1 bit unwritten, 54 logical block, 52 block, 21 count.
    records = [
        EXTENT.pack(logical << 9 | (start := address(block)) >> 43, (start << 21 | count) & NULL_LONG)
        for logical, block, count in extents
    ]
    counts = _levels(len(extents), room)
    if not counts:
        return Fork(FORMAT_EXTENTS, b"".join(records), len(extents), mapped)
    taken = blocks.take(sum(counts))
    items: Sequence[bytes] = records
    firsts: Sequence[int] = [logical for logical, _, _ in extents]
    at = 0
    for level, count in enumerate(counts):
        numbers = taken[at : at + count]
        at += count
        addresses = [NULL_LONG, *map(address, numbers), NULL_LONG]
        for index, (part, keys) in enumerate(zip(split(items, count), split(firsts, count), strict=True)):
            where = addresses[index], addresses[index + 2], numbers[index] * SECTORS_PER_BLOCK
            head = LONG_BLOCK.pack(BMBT_MAGIC, level, len(part), *where, 0, blocks.uuid, owner, 0, 0)
            body = _records(part, keys, BMBT_RECORDS) if level else b"".join(part)
            blocks.put(numbers[index], seal((head + body).ljust(BLOCK, b"\0"), LONG_BLOCK_CRC))
        items = [one.to_bytes(8, "big") for one in addresses[1:-1]]
        firsts = [part[0] for part in split(firsts, count)]
    root = BMBT_ROOT.pack(len(counts), len(items)) + _records(items, firsts, _root_records(room))
    return Fork(FORMAT_BTREE, root, len(extents), mapped + len(taken))


def _levels(extents: int, room: int) -> list[int]:
    return levels(extents, BMBT_RECORDS, BMBT_RECORDS, room // EXTENT.size, _root_records(room))


def _root_records(room: int) -> int:
    return (room - BMBT_ROOT.size) // 16


def _records(pointers: Sequence[bytes], keys: Sequence[int], most: int) -> bytes:
    """Keys, and pointers behind the place of as many keys as there may be."""
    return b"".join([key.to_bytes(8, "big") for key in keys]).ljust(most * 8, b"\0") + b"".join(pointers)
