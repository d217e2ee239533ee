"""The nodes by which leaves of directories and attributes are found by hash (xfs_da_btree)."""

from __future__ import annotations

from collections.abc import Sequence

from fledge_fs_xfs.btree import levels, split
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.format import (
    BLOCK,
    DA_CRC,
    DA_HEADER,
    DA_NODE_COUNT,
    DA_NODE_ENTRIES,
    DA_NODE_ENTRY,
    DA_NODE_MAGIC,
    SECTORS_PER_BLOCK,
)


def node_counts(leaves: int) -> list[int]:
    """How many nodes each level has, the root's last; none when a single leaf is the root itself."""
    if leaves <= 1:
        return []
    return [*levels(leaves, DA_NODE_ENTRIES, DA_NODE_ENTRIES, DA_NODE_ENTRIES, DA_NODE_ENTRIES), 1]


def seal_block(magic: int, before: int, after: int, block: int, rest: bytes, uuid: bytes, owner: int) -> bytes:
    """A node or leaf that stands at `block`: its header and `rest`.

    `before`, `after`: the logical blocks of its neighbours, 0 for none.
    """
    head = DA_HEADER.pack(after, before, magic, 0, 0, block * SECTORS_PER_BLOCK, 0, uuid, owner)
    return seal((head + rest).ljust(BLOCK, b"\0"), DA_CRC)


def nodes(hashes: Sequence[int], base: int, blocks: Sequence[int], uuid: bytes, owner: int) -> list[tuple[int, bytes]]:
    """The nodes above leaves, each with its block of the image, by rising block.

    `hashes`: the last hash of each leaf. `base`: the logical block of the root; behind it come the other nodes, higher
    levels first, and then the leaves. `blocks`: where nodes and leaves stand.
    """
    counts = node_counts(len(hashes))
    made: list[tuple[int, bytes]] = []
    below = base + sum(counts)
    for level, count in enumerate(counts, 1):
        first = base + sum(counts[level:])
        children = split(range(below, below + len(hashes)), count)
        parts = split(hashes, count)
        for index, (numbers, keys) in enumerate(zip(children, parts, strict=True)):
            entries = [DA_NODE_ENTRY.pack(key, number) for key, number in zip(keys, numbers, strict=True)]
            logical = first + index
            before = logical - 1 if index else 0
            after = logical + 1 if index + 1 < count else 0
            rest = DA_NODE_COUNT.pack(len(keys), level) + b"".join(entries)
            block = blocks[logical - base]
            made.append((block, seal_block(DA_NODE_MAGIC, before, after, block, rest, uuid, owner)))
        hashes = [keys[-1] for keys in parts]
        below = first
    return sorted(made)
