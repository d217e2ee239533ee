"""Extended attributes: an item for each, but for those whose names have the same hash.

btrfs keeps names and values as getxattr(2) gives them, ACLs included (fs/btrfs/xattr.c, acl.c).
"""

from __future__ import annotations

from collections.abc import Mapping

from fledge.tree import acl

from fledge_fs_btrfs.checksum import name_hash
from fledge_fs_btrfs.format import ENTRY, GENERATION, MAX_ITEM, MAX_NAME, MAX_XATTR, TYPE_XATTR

_PREFIXES = (b"user.", b"trusted.", b"security.")


class Unfit(Exception):  # noqa: N818 - not a failure, but a fact that the caller words with the path
    """btrfs can't hold the attribute; the message says which and why."""


Item = tuple[int, bytes]
"""The offset of the key, and the data."""


def encode(xattrs: Mapping[bytes, bytes]) -> list[Item]:
    """The items by rising keys. Raises Unfit."""
    items: dict[int, bytes] = {}
    for name, value in sorted(xattrs.items()):
        if not (name in acl.NAMES or any(name.startswith(p) and len(name) > len(p) for p in _PREFIXES)):
            raise Unfit(
                f"extended attribute {_show(name)} is of no kind that is written to btrfs: user.*, trusted.*, security.* "
                "and POSIX ACLs"
            )
        if len(name) > MAX_NAME:
            raise Unfit(
                f"the name of the extended attribute {_show(name)} has {len(name)} bytes; btrfs holds {MAX_NAME}"
            )
        if len(name) + len(value) > MAX_XATTR:
            raise Unfit(
                f"extended attribute {_show(name)} has {len(value)} bytes; btrfs holds {MAX_XATTR - len(name)} "
                "under that name"
            )
        if name in acl.NAMES:
            try:
                acl.entries(value)
            except ValueError as error:
                raise Unfit(f"extended attribute {_show(name)} {error}") from None
        key = name_hash(name)
        entry = ENTRY.pack(0, 0, 0, GENERATION, len(value), len(name), TYPE_XATTR) + name + value
        items[key] = items.get(key, b"") + entry
        if len(items[key]) > MAX_ITEM:
            raise Unfit(
                f"extended attribute {_show(name)} shares its hash with others; btrfs holds {MAX_ITEM} bytes of them"
            )
    return sorted(items.items())


def _show(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
