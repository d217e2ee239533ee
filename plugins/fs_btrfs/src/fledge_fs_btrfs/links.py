"""The items that lead from an inode of several names back to them."""

from __future__ import annotations

from collections.abc import Sequence

from fledge_fs_btrfs.checksum import extref_hash
from fledge_fs_btrfs.format import EXTREF, INODE_EXTREF, INODE_REF, MAX_ITEM, REF

Name = tuple[int, int, bytes]
"""The folder's inode number, the index in it, and the name."""

Item = tuple[int, int, bytes]
"""Type and offset of the key, and the data."""


def references(names: Sequence[Name]) -> list[Item]:
    """The items by rising keys: names of one folder in one INODE_REF, and by hash what that can't hold.

    Raises OverflowError when more names have one hash than an item can hold.
    """
    by_folder: dict[int, bytes] = {}
    by_hash: dict[int, bytes] = {}
    for parent, index, name in names:
        refs = by_folder.get(parent, b"") + REF.pack(index, len(name)) + name
        if len(refs) <= MAX_ITEM:
            by_folder[parent] = refs
            continue
        key = extref_hash(parent, name)
        by_hash[key] = by_hash.get(key, b"") + EXTREF.pack(parent, index, len(name)) + name
        if len(by_hash[key]) > MAX_ITEM:
            raise OverflowError
    return [
        *((INODE_REF, parent, refs) for parent, refs in sorted(by_folder.items())),
        *((INODE_EXTREF, key, refs) for key, refs in sorted(by_hash.items())),
    ]
