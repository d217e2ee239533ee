"""Extended attributes that the inode has no room for: leaves, nodes above them, and blocks for large values."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.blocks import Extent

from fledge_fs_xfs.bmap import contiguous
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.dahash import hash_name
from fledge_fs_xfs.datree import node_counts, nodes, seal_block
from fledge_fs_xfs.format import (
    ATTR_ENTRY,
    ATTR_FLAG_LOCAL,
    ATTR_LEAF_COUNT,
    ATTR_LEAF_HEADER,
    ATTR_LEAF_MAGIC,
    ATTR_LOCAL,
    ATTR_LOCAL_MAX,
    ATTR_REMOTE,
    ATTR_REMOTE_MAGIC,
    BLOCK,
    REMOTE_CRC,
    REMOTE_HEADER,
    REMOTE_ROOM,
    SECTORS_PER_BLOCK,
)
from fledge_fs_xfs.metadata import MetadataBlocks
from fledge_fs_xfs.xattrs import Attribute


class AttributeBlocks:
    """The attributes of an inode in the order of their hashes, in leaves as full as they get."""

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        self._leaves: list[list[tuple[int, Attribute]]] = []
        room = values = 0
        for hashed, attribute in sorted([(hash_name(attribute.name), attribute) for attribute in attributes]):
            size = ATTR_ENTRY.size + _size(attribute)
            if size > room:
                self._leaves.append([])
                room = BLOCK - ATTR_LEAF_HEADER
            self._leaves[-1].append((hashed, attribute))
            room -= size
            if _is_remote(attribute):
                values += _value_blocks(attribute)
        self._nodes = sum(node_counts(len(self._leaves)))
        self.blocks = self._nodes + len(self._leaves) + values

    def write(self, owner: int, metadata: MetadataBlocks) -> list[Extent]:
        """Writes the blocks, and tells where they went. `owner`: the inode's number."""
        blocks = metadata.take(self.blocks)
        uuid = metadata.uuid
        for block, data in nodes([leaf[-1][0] for leaf in self._leaves], 0, blocks, uuid, owner):
            metadata.put(block, data)
        first = self._nodes
        end = at_value = first + len(self._leaves)
        values: list[bytes] = []
        for at, leaf in enumerate(self._leaves, first):
            entries = []
            for hashed, attribute in leaf:
                name, flags, value = attribute
                if _is_remote(attribute):
                    entries.append((hashed, flags, ATTR_REMOTE.pack(at_value, len(value), len(name)) + name))
                    at_value += _value_blocks(attribute)
                    values.append(value)
                else:
                    body = ATTR_LOCAL.pack(len(value), len(name)) + name + value
                    entries.append((hashed, flags | ATTR_FLAG_LOCAL, body))
            before, after = at - 1 if at > first else 0, at + 1 if at + 1 < end else 0
            rest = _leaf(entries, [_size(attribute) for _, attribute in leaf])
            metadata.put(blocks[at], seal_block(ATTR_LEAF_MAGIC, before, after, blocks[at], rest, uuid, owner))
        behind = iter(blocks[end:])
        for value in values:
            for offset in range(0, len(value), REMOTE_ROOM):
                part = value[offset : offset + REMOTE_ROOM]
                block = next(behind)
                where = owner, block * SECTORS_PER_BLOCK, 0
                head = REMOTE_HEADER.pack(ATTR_REMOTE_MAGIC, offset, len(part), 0, uuid, *where)
                metadata.put(block, seal((head + part).ljust(BLOCK, b"\0"), REMOTE_CRC))
        return contiguous(0, blocks)


def _is_remote(attribute: Attribute) -> bool:
    return _local_size(attribute) >= ATTR_LOCAL_MAX


def _local_size(attribute: Attribute) -> int:
    return (ATTR_LOCAL.size + len(attribute.name) + len(attribute.value) + 3) & ~3


def _size(attribute: Attribute) -> int:
    """Bytes in the leaf. The remote form has two of padding, which the compiler once put behind its structure."""
    if _is_remote(attribute):
        return (ATTR_REMOTE.size + 2 + len(attribute.name) + 3) & ~3
    return _local_size(attribute)


def _value_blocks(attribute: Attribute) -> int:
    return -(-len(attribute.value) // REMOTE_ROOM)


def _leaf(entries: Sequence[tuple[int, int, bytes]], sizes: Sequence[int]) -> bytes:
    """What stands behind a leaf's header: entries of hash, flags and body from the front, bodies from the back."""
    table = []
    at = BLOCK
    for (hashed, flags, _), size in zip(entries, sizes, strict=True):
        at -= size
        table.append(ATTR_ENTRY.pack(hashed, at, flags))
    bodies = [body.ljust(size, b"\0") for (_, _, body), size in zip(entries, sizes, strict=True)]
    base = ATTR_LEAF_HEADER + len(table) * ATTR_ENTRY.size
    count = ATTR_LEAF_COUNT.pack(len(table), BLOCK - at, at, 0, base, at - base, 0, 0, 0, 0)
    return count + b"".join(table) + bytes(at - base) + b"".join(reversed(bodies))
