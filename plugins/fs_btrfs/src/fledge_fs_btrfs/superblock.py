"""The superblock, and its mirrors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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


class Superblock(NamedTuple):
    """Under the kernel's names; what a new filesystem does not need is zero."""

    fsid: bytes
    bytenr: int
    flags: int
    magic: bytes
    generation: int
    root: int
    chunk_root: int
    log_root: int = 0
    log_root_transid: int = 0
    total_bytes: int = 0
    bytes_used: int = 0
    root_dir_objectid: int = ROOT_TREE_DIR
    num_devices: int = 1
    sectorsize: int = SECTOR
    nodesize: int = NODE
    leafsize: int = NODE
    stripesize: int = SECTOR
    sys_chunk_array_size: int = 0
    chunk_root_generation: int = GENERATION
    compat_flags: int = 0
    compat_ro_flags: int = COMPAT_RO
    incompat_flags: int = INCOMPAT
    csum_type: int = 0
    root_level: int = 0
    chunk_root_level: int = 0
    log_root_level: int = 0
    dev_item: bytes = b""
    label: bytes = b""
    cache_generation: int = 0
    uuid_tree_generation: int = GENERATION
    metadata_uuid: bytes = b""
    sys_chunk_array: bytes = b""
    super_roots: bytes = b""


def superblocks(
    identity: Identity, size: int, groups: Sequence[BlockGroup], trees: Mapping[int, Blocks]
) -> list[tuple[int, bytes]]:
    """Where each one goes in an image of `size` bytes, and its bytes."""
    used = sum(group.used for group in groups)
    root, chunk_root = trees[ROOT_TREE], trees[CHUNK_TREE]
    system = small_trees.system_chunks(identity, groups)
    found = []
    for mirror in MIRRORS:
        if mirror + SUPERBLOCK_SIZE > size:
            break
        fields = Superblock(
            fsid=identity.filesystem,
            bytenr=mirror,
            flags=SUPER_FLAG_WRITTEN,
            magic=MAGIC,
            generation=GENERATION,
            root=root.root,
            chunk_root=chunk_root.root,
            total_bytes=size,
            bytes_used=used,
            sys_chunk_array_size=len(system),
            root_level=root.level,
            chunk_root_level=chunk_root.level,
            dev_item=small_trees.device(identity, size, groups),
            sys_chunk_array=system,
            super_roots=_backup(size, used, trees),
        )
        block = SUPERBLOCK.pack(*fields)
        found.append((mirror, crc32c(block).to_bytes(CHECKSUM_SIZE, "little") + block))
    return found


def _backup(size: int, used: int, trees: Mapping[int, Blocks]) -> bytes:
    """What a mount with `usebackuproot` looks at; the kernel keeps the last four transactions here."""
    kept = [trees[owner] for owner in _BACKED_UP]
    addresses = [number for tree in kept for number in (tree.root, GENERATION)]
    return BACKUP_ROOT.pack(*addresses, size, used, 1, *(tree.level for tree in kept))
