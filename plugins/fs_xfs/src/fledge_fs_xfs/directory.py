"""Directories: inside the inode, in one block, or in blocks of entries with a hash index and an index of free space."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from fledge.blocks import Extent, Run

from fledge_fs_xfs.bmap import contiguous
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.dahash import hash_names
from fledge_fs_xfs.datree import node_counts, nodes, seal_block
from fledge_fs_xfs.format import (
    BLOCK,
    BLOCK_BITS,
    DIR_ADDRESS_UNIT,
    DIR_BEST_FREE,
    DIR_BLOCK_MAGIC,
    DIR_BLOCK_TAIL,
    DIR_CRC,
    DIR_DATA_HEADER,
    DIR_DATA_MAGIC,
    DIR_DATA_OFFSET,
    DIR_ENTRY,
    DIR_ENTRY_EXTRA,
    DIR_FREE_COUNT,
    DIR_FREE_HEADER,
    DIR_FREE_MAGIC,
    DIR_HEADER,
    DIR_LEAF1_MAGIC,
    DIR_LEAF_COUNT,
    DIR_LEAF_ENTRY,
    DIR_LEAF_HEADER,
    DIR_LEAF_TAIL,
    DIR_LEAFN_MAGIC,
    DIR_SPACE,
    DIR_UNUSED,
    DIR_UNUSED_TAG,
    DIRECTORY_TYPE,
    SECTORS_PER_BLOCK,
    SHORT_DIR,
    SHORT_ENTRY,
)
from fledge_fs_xfs.metadata import MetadataBlocks

Entry = tuple[bytes, int, int]
"""Name, inode number, file type."""

_LEAF_BASE = DIR_SPACE >> BLOCK_BITS
_FREE_BASE = 2 * DIR_SPACE >> BLOCK_BITS
_MAX_BLOCKS = _LEAF_BASE
_ROOM = BLOCK - DIR_DATA_HEADER
_BESTS_PER_BLOCK = (BLOCK - DIR_FREE_HEADER) // 2
_UP = DIR_ENTRY_EXTRA + 7
"""An entry whose name has `length` bytes takes `(length + _UP) & ~7`; in place, as it is asked for every name."""
_LEAF_ENTRIES = (BLOCK - DIR_LEAF_HEADER) // DIR_LEAF_ENTRY.size
_TAG = struct.Struct(">H")
_TYPES = 8
_ENTRY_ENDS = [bytes((kind,)) + bytes(-(length + DIR_ENTRY_EXTRA) % 8) for kind in range(_TYPES) for length in range(8)]
"""What stands between name and tag, by file type and the length's last three bits."""


class Shape(NamedTuple):
    """What a directory takes in blocks of its own: one at least."""

    data: int
    leaves: int
    """With an index of one block, which then has the free space too: 1, and no free blocks."""
    nodes: int
    free: int

    @property
    def blocks(self) -> int:
        """All of them."""
        return self.data + self.leaves + self.nodes + self.free

    @property
    def spaces(self) -> list[Run]:
        """Where they stand in the directory, and how many in each place."""
        spaces = [(0, self.data), (_LEAF_BASE, self.nodes + self.leaves), (_FREE_BASE, self.free)]
        return [space for space in spaces if space[1]]


ONE_BLOCK = Shape(1, 0, 0, 0)


def measure(lengths: Sequence[int]) -> Shape:
    """What the names of these lengths take in blocks, `.` and `..` not among them.

    Raises OverflowError when the entries take 32 GiB.
    """
    count = len(lengths) + 2
    total = sum([(length + _UP) & ~7 for length in lengths])
    if DIR_DATA_OFFSET + total + count * DIR_LEAF_ENTRY.size + DIR_BLOCK_TAIL.size <= BLOCK:
        return ONE_BLOCK
    data = 1
    room = BLOCK - DIR_DATA_OFFSET
    for length in lengths:
        size = (length + _UP) & ~7
        if size > room:
            data += 1
            room = _ROOM
        room -= size
    if data > _MAX_BLOCKS:
        raise OverflowError
    if DIR_LEAF_HEADER + count * DIR_LEAF_ENTRY.size + data * _TAG.size + DIR_LEAF_TAIL.size <= BLOCK:
        return Shape(data, 1, 0, 0)
    leaves = -(-count // _LEAF_ENTRIES)
    return Shape(data, leaves, sum(node_counts(leaves)), -(-data // _BESTS_PER_BLOCK))


def list_inside(entries: Sequence[Entry], parent: int) -> bytes:
    """The entries as they stand in an inode. Each says where it would stand in a block."""
    parts = [SHORT_DIR.pack(len(entries), 0, parent)]
    offset = DIR_DATA_OFFSET
    head = SHORT_ENTRY.pack
    for name, ino, kind in entries:
        length = len(name)
        parts += (head(length, offset), name, (kind << 32 | ino).to_bytes(5, "big"))
        offset += (length + _UP) & ~7
    return b"".join(parts)


def write(entries: Sequence[Entry], ino: int, parent: int, shape: Shape, metadata: MetadataBlocks) -> list[Extent]:
    """Writes the blocks of a directory, and tells where they went."""
    everything: list[Entry] = [(b".", ino, DIRECTORY_TYPE), (b"..", parent, DIRECTORY_TYPE), *entries]
    blocks = metadata.take(shape.blocks)
    bodies, offsets = _fill(everything)
    assert len(bodies) == shape.data
    hashes = hash_names([name for name, _, _ in everything])
    index = sorted(zip(hashes, offsets, strict=True))
    if shape == ONE_BLOCK:
        tail = b"".join([DIR_LEAF_ENTRY.pack(*one) for one in index]) + DIR_BLOCK_TAIL.pack(len(index), 0)
        block, _ = _data_block(DIR_BLOCK_MAGIC, bodies[0], tail, blocks[0], ino, metadata.uuid)
        metadata.put(blocks[0], block)
        return contiguous(0, blocks)
    bests = []
    for body, at in zip(bodies, blocks, strict=False):
        block, best = _data_block(DIR_DATA_MAGIC, body, b"", at, ino, metadata.uuid)
        metadata.put(at, block)
        bests.append(best)
    behind = blocks[shape.data :]
    if not shape.free:
        metadata.put(behind[0], _single_leaf(index, bests, behind[0], ino, metadata.uuid))
        return [*contiguous(0, blocks[: shape.data]), *contiguous(_LEAF_BASE, behind)]
    tree, free = behind[: shape.nodes + shape.leaves], behind[shape.nodes + shape.leaves :]
    _write_leaves(index, shape, tree, ino, metadata)
    for first, at in enumerate(free):
        part = bests[first * _BESTS_PER_BLOCK : (first + 1) * _BESTS_PER_BLOCK]
        head = DIR_HEADER.pack(DIR_FREE_MAGIC, 0, at * SECTORS_PER_BLOCK, 0, metadata.uuid, ino)
        head += DIR_FREE_COUNT.pack(first * _BESTS_PER_BLOCK, len(part), len(part))
        metadata.put(at, seal((head + struct.pack(f">{len(part)}H", *part)).ljust(BLOCK, b"\0"), DIR_CRC))
    return [*contiguous(0, blocks[: shape.data]), *contiguous(_LEAF_BASE, tree), *contiguous(_FREE_BASE, free)]


def _fill(entries: Sequence[Entry]) -> tuple[list[bytes], list[int]]:
    """The entries of each block, and each entry's address."""
    bodies: list[bytes] = []
    addresses: list[int] = []
    parts: list[bytes] = []
    at = DIR_DATA_HEADER
    base = 0
    head, tag = DIR_ENTRY.pack, _TAG.pack
    for name, ino, kind in entries:
        length = len(name)
        size = (length + _UP) & ~7
        if at + size > BLOCK:
            bodies.append(b"".join(parts))
            parts = []
            at = DIR_DATA_HEADER
            base += BLOCK // DIR_ADDRESS_UNIT
        addresses.append(base + (at >> 3))
        parts += (head(ino, length), name, _ENTRY_ENDS[kind << 3 | length & 7], tag(at))
        at += size
    bodies.append(b"".join(parts))
    return bodies, addresses


def _data_block(magic: bytes, body: bytes, tail: bytes, at: int, ino: int, uuid: bytes) -> tuple[bytes, int]:
    """A block of entries, and how many bytes of it are free."""
    start = DIR_DATA_HEADER + len(body)
    free = BLOCK - start - len(tail)
    unused = b""
    if free:
        unused = DIR_UNUSED.pack(DIR_UNUSED_TAG, free).ljust(free - _TAG.size, b"\0") + _TAG.pack(start)
    head = DIR_HEADER.pack(magic, 0, at * SECTORS_PER_BLOCK, 0, uuid, ino)
    best = DIR_BEST_FREE.pack(start if free else 0, free, 0, 0, 0, 0)
    return seal(b"".join((head, best, body, unused, tail)), DIR_CRC), free


def _single_leaf(index: Sequence[tuple[int, int]], bests: Sequence[int], at: int, ino: int, uuid: bytes) -> bytes:
    """The index of a directory in one block, with the free space of each block of entries at its end."""
    entries = DIR_LEAF_COUNT.pack(len(index), 0) + b"".join([DIR_LEAF_ENTRY.pack(*one) for one in index])
    end = struct.pack(f">{len(bests)}H", *bests) + DIR_LEAF_TAIL.pack(len(bests))
    room = BLOCK - DIR_LEAF_HEADER + DIR_LEAF_COUNT.size - len(end)
    return seal_block(DIR_LEAF1_MAGIC, 0, 0, at, entries.ljust(room, b"\0") + end, uuid, ino)


def _write_leaves(
    index: Sequence[tuple[int, int]], shape: Shape, blocks: Sequence[int], ino: int, metadata: MetadataBlocks
) -> None:
    """Writes the index of a large directory: the nodes, root first, then the leaves."""
    parts = [index[at : at + _LEAF_ENTRIES] for at in range(0, len(index), _LEAF_ENTRIES)]
    for block, data in nodes([part[-1][0] for part in parts], _LEAF_BASE, blocks, metadata.uuid, ino):
        metadata.put(block, data)
    first = _LEAF_BASE + shape.nodes
    for at, part in enumerate(parts):
        block = blocks[shape.nodes + at]
        before = first + at - 1 if at else 0
        after = first + at + 1 if at + 1 < len(parts) else 0
        rest = DIR_LEAF_COUNT.pack(len(part), 0) + b"".join([DIR_LEAF_ENTRY.pack(*one) for one in part])
        metadata.put(block, seal_block(DIR_LEAFN_MAGIC, before, after, block, rest, metadata.uuid, ino))
