"""The superblock and its mirrors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fledge_fs_btrfs import small_trees
from fledge_fs_btrfs.checksum import crc32c
from fledge_fs_btrfs.format import (
    BACKUP_ROOT,
    CHECKSUM_SIZE,
    CHUNK_TREE,
    COMPAT_RO,
    CSUM_TREE,
    DEV_TREE,
    EXTENT_TREE,
    FS_TREE,
    GENERATION,
    INCOMPAT,
    MAGIC,
    MIRRORS,
    NODE,
    ROOT_TREE,
    ROOT_TREE_DIR,
    SECTOR,
    SUPER_FLAG_WRITTEN,
    SUPERBLOCK,
    SUPERBLOCK_SIZE,
)
from fledge_fs_btrfs.space import BlockGroup
from fledge_fs_btrfs.tree_writer import Blocks, Identity

_BACKED_UP = (ROOT_TREE, CHUNK_TREE, EXTENT_TREE, FS_TREE, DEV_TREE, CSUM_TREE)


def superblocks(
    identity: Identity, size: int, groups: Sequence[BlockGroup], trees: Mapping[int, Blocks]
) -> list[tuple[int, bytes]]:
    """Where each one goes, and its bytes."""
    return [
        (mirror, _superblock(mirror, identity, size, groups, trees))
        for mirror in MIRRORS
        if mirror + SUPERBLOCK_SIZE <= size
    ]


def _superblock(
    at: int, identity: Identity, size: int, groups: Sequence[BlockGroup], trees: Mapping[int, Blocks]
) -> bytes:
    used = sum(group.used for group in groups)
    root, chunk_root = trees[ROOT_TREE], trees[CHUNK_TREE]
    system = small_trees.system_chunks(identity, groups)
    block = SUPERBLOCK.pack(
        identity.filesystem,
        at,
        SUPER_FLAG_WRITTEN,
        MAGIC,
        GENERATION,
        root.root,
        chunk_root.root,
        0,
        0,
        size,
        used,
        ROOT_TREE_DIR,
        1,
        SECTOR,
        NODE,
        NODE,
        SECTOR,
        len(system),
        GENERATION,
        0,
        COMPAT_RO,
        INCOMPAT,
        0,
        root.level,
        chunk_root.level,
        0,
        small_trees.device(identity, size, groups),
        b"",
        0,
        GENERATION,
        b"",
        system,
        _backup(size, used, trees),
    )
    return crc32c(block).to_bytes(CHECKSUM_SIZE, "little") + block


def _backup(size: int, used: int, trees: Mapping[int, Blocks]) -> bytes:
    """What a mount with `usebackuproot` looks at; the kernel keeps the last four transactions here."""
    kept = [trees[owner] for owner in _BACKED_UP]
    addresses = [number for tree in kept for number in (tree.root, GENERATION)]
    return BACKUP_ROOT.pack(*addresses, size, used, 1, *(tree.level for tree in kept))
