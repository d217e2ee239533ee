"""The items of the trees that describe the filesystem itself."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from fledge_fs_btrfs.checksum import name_hash
from fledge_fs_btrfs.format import (
    BLOCK_GROUP,
    BLOCK_GROUP_ITEM,
    CHUNK,
    CHUNK_ITEM,
    CHUNK_STRIPE,
    CHUNK_TREE,
    DATA,
    DATA_EXTENT,
    DEV_EXTENT,
    DEV_ITEM,
    DEV_ITEMS,
    DEVICE,
    DEVICE_EXTENT,
    DEVICE_ID,
    DIR_ITEM,
    ENTRY,
    EXTENT_DATA_REF,
    EXTENT_IS_DATA,
    EXTENT_IS_TREE_BLOCK,
    EXTENT_ITEM,
    EXTENT_TREE,
    FIRST_CHUNK_TREE,
    FIRST_INO,
    FREE_SPACE,
    FREE_SPACE_EXTENT,
    FREE_SPACE_INFO,
    FS_TREE,
    GENERATION,
    INODE,
    INODE_ITEM,
    INODE_REF,
    METADATA_ITEM,
    NODE,
    REF,
    ROOT,
    ROOT_ITEM,
    ROOT_TREE,
    ROOT_TREE_DIR,
    SECTOR,
    STRIPE,
    SYSTEM,
    TREE_BLOCK,
    TREE_BLOCK_REF,
    TYPE_DIR,
    UUID_SUBVOL,
)
from fledge_fs_btrfs.fs_tree import DataExtent
from fledge_fs_btrfs.space import BlockGroup, free_ranges
from fledge_fs_btrfs.tree_writer import Blocks, Identity

Item = tuple[int, int, int, bytes]
"""Key and data."""

_IN_SUPER = (ROOT_TREE, CHUNK_TREE)
"""The superblock says where they are."""
_END: Item = ((1 << 64) - 1, 0, 0, b"")


def device(identity: Identity, size: int, groups: Sequence[BlockGroup]) -> bytes:
    """What the chunk tree and the superblock say of the one device of `size` bytes."""
    allocated = sum(group.length for group in groups)
    return DEVICE.pack(
        DEVICE_ID, size, allocated, SECTOR, SECTOR, SECTOR, 0, 0, 0, 0, 0, 0, identity.device, identity.filesystem
    )


def chunks(identity: Identity, groups: Sequence[BlockGroup]) -> Iterator[Item]:
    """A chunk for each group, at the same place on the device."""
    for group in groups:
        chunk = CHUNK.pack(group.length, EXTENT_TREE, STRIPE, group.kind, STRIPE, STRIPE, SECTOR, 1, 1)
        stripe = CHUNK_STRIPE.pack(DEVICE_ID, group.start, identity.device)
        yield FIRST_CHUNK_TREE, CHUNK_ITEM, group.start, chunk + stripe


def chunk_tree(identity: Identity, size: int, groups: Sequence[BlockGroup]) -> list[Item]:
    """The device and the chunks."""
    return [(DEV_ITEMS, DEV_ITEM, DEVICE_ID, device(identity, size, groups)), *chunks(identity, groups)]


def system_chunks(identity: Identity, groups: Sequence[BlockGroup]) -> bytes:
    """What the superblock has of the chunk tree: where the chunk tree is."""
    found = chunks(identity, [group for group in groups if group.kind == SYSTEM])
    return b"".join(struct.pack("<QBQ", objectid, kind, offset) + data for objectid, kind, offset, data in found)


def dev_tree(identity: Identity, groups: Sequence[BlockGroup]) -> list[Item]:
    """Which parts of the device are taken."""
    return [
        (
            DEVICE_ID,
            DEV_EXTENT,
            group.start,
            DEVICE_EXTENT.pack(CHUNK_TREE, FIRST_CHUNK_TREE, group.start, group.length, identity.chunk_tree),
        )
        for group in groups
    ]


def free_space_tree(groups: Sequence[BlockGroup]) -> list[Item]:
    """What is free in each group."""
    items: list[Item] = []
    for group in groups:
        ranges = free_ranges(group)
        items.append((group.start, FREE_SPACE_INFO, group.length, FREE_SPACE.pack(len(ranges), 0)))
        items += ((start, FREE_SPACE_EXTENT, length, b"") for start, length in ranges)
    return items


def uuid_tree(identity: Identity) -> list[Item]:
    """Finds the subvolume by its UUID."""
    high, low = struct.unpack("<QQ", identity.subvolume)
    return [(high, UUID_SUBVOL, low, struct.pack("<Q", FS_TREE))]


def empty_directory(ino: int) -> list[Item]:
    """A directory that is its own parent."""
    inode = INODE.pack(GENERATION, GENERATION, 0, 0, 0, 1, 0, 0, stat.S_IFDIR | 0o755, 0, 0, 0, *[0] * 8)
    return [(ino, INODE_ITEM, 0, inode), (ino, INODE_REF, ino, REF.pack(0, 2) + b"..")]


def data_reloc_tree() -> list[Item]:
    """The subvolume in which balancing works."""
    return empty_directory(FIRST_INO)


def root_tree(identity: Identity, trees: Mapping[int, Blocks]) -> list[Item]:
    """Where the trees are, and which one is mounted."""
    default = b"default"
    location = ENTRY.pack(FS_TREE, ROOT_ITEM, (1 << 64) - 1, 0, 0, len(default), TYPE_DIR) + default
    items = [
        *((owner, ROOT_ITEM, 0, _root(identity, blocks)) for owner, blocks in trees.items() if owner not in _IN_SUPER),
        (FS_TREE, INODE_REF, ROOT_TREE_DIR, REF.pack(0, len(default)) + default),
        *empty_directory(ROOT_TREE_DIR),
        (ROOT_TREE_DIR, DIR_ITEM, name_hash(default), location),
    ]
    return sorted(items)


def _root(identity: Identity, blocks: Blocks) -> bytes:
    # As mkfs.btrfs fills it; nothing reads it.
    inode = INODE.pack(1, 0, 3, NODE, 0, 1, 0, 0, stat.S_IFDIR | 0o755, 0, 0, 0, *[0] * 8)
    is_subvolume = blocks.owner == FS_TREE
    has_files = blocks.owner >= FIRST_INO or is_subvolume
    return ROOT.pack(
        inode,
        GENERATION,
        FIRST_INO if has_files else 0,
        blocks.root,
        blocks.count * NODE,
        1,
        blocks.level,
        GENERATION,
        identity.subvolume if is_subvolume else b"",
    )


def extent_tree(groups: Iterable[BlockGroup], trees: Iterable[Blocks], data: Iterable[DataExtent]) -> Iterator[Item]:
    """The groups, and each block and extent in them with what it belongs to.

    `groups`, `trees` and `data` by rising address. Groups are used from their start on.
    """
    extents = chain(
        _block_items(tree for tree in trees if tree.owner == CHUNK_TREE),
        _data_items(data),
        _block_items(tree for tree in trees if tree.owner != CHUNK_TREE),
    )
    extent = next(extents)
    for group in groups:
        # What stands at the group's start comes before the group: its type is lower.
        if extent[0] == group.start:
            yield extent
            extent = next(extents, _END)
        yield group.start, BLOCK_GROUP_ITEM, group.length, BLOCK_GROUP.pack(group.used, FIRST_CHUNK_TREE, group.kind)
        while extent[0] < group.end:
            yield extent
            extent = next(extents, _END)


def extent_tree_sizes(groups: Sequence[BlockGroup], counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The sizes of the extent tree's items, as runs of (size, how many). `counts`: extents or blocks of each group."""
    for group, count in zip(groups, counts, strict=True):
        size = DATA_EXTENT.size if group.kind == DATA else TREE_BLOCK.size
        before = min(count, 1)
        yield from ((size, before), (BLOCK_GROUP.size, 1), (size, count - before))


def _data_items(data: Iterable[DataExtent]) -> Iterator[Item]:
    pack = DATA_EXTENT.pack
    for start, length, ino, offset in data:
        item = pack(1, GENERATION, EXTENT_IS_DATA, EXTENT_DATA_REF, FS_TREE, ino, offset, 1)
        yield start, EXTENT_ITEM, length, item


def _block_items(trees: Iterable[Blocks]) -> Iterator[Item]:
    for tree in trees:
        item = TREE_BLOCK.pack(1, GENERATION, EXTENT_IS_TREE_BLOCK, TREE_BLOCK_REF, tree.owner)
        for start, level in tree.each():
            yield start, METADATA_ITEM, level, item
