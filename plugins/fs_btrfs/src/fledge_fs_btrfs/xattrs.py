"""Extended attributes: an item for each, but for those whose names have the same hash.

btrfs keeps names and values as getxattr(2) gives them, ACLs included (fs/btrfs/xattr.c, acl.c).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from fledge_fs_btrfs.checksum import name_hash
from fledge_fs_btrfs.format import ENTRY, GENERATION, MAX_ITEM, MAX_NAME, MAX_XATTR, TYPE_XATTR

_PREFIXES = (b"user.", b"trusted.", b"security.")
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_ACL_VERSION = 2
_ACL_ENTRY = struct.Struct("<HHI")
"""tag perm id (include/uapi/linux/posix_acl_xattr.h)"""
_ACL_TAGS = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20)


class Unfit(Exception):  # noqa: N818 - not a failure, but a fact that the caller words with the path
    """btrfs can't hold the attribute; the message says which and why."""


Item = tuple[int, bytes]
"""The offset of the key, and the data."""


def encode(xattrs: Mapping[bytes, bytes]) -> list[Item]:
    """The items by rising keys. Raises Unfit."""
    items: dict[int, bytes] = {}
    for name, value in sorted(xattrs.items()):
        if not (name in _ACLS or any(name.startswith(p) and len(name) > len(p) for p in _PREFIXES)):
            raise Unfit(
                f"extended attribute {_show(name)} is of no kind that btrfs keeps (user, trusted, security, ACLs)"
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
        if name in _ACLS and not _is_acl(value):
            raise Unfit(f"extended attribute {_show(name)} is not a POSIX ACL of version {_ACL_VERSION}")
        key = name_hash(name)
        entry = ENTRY.pack(0, 0, 0, GENERATION, len(value), len(name), TYPE_XATTR) + name + value
        items[key] = items.get(key, b"") + entry
        if len(items[key]) > MAX_ITEM:
            raise Unfit(
                f"extended attribute {_show(name)} shares its hash with others; btrfs holds {MAX_ITEM} bytes of them"
            )
    return sorted(items.items())


def _is_acl(value: bytes) -> bool:
    """Whether the kernel can read it; of what it can't read, no access to the inode is possible."""
    if len(value) < 4 or (len(value) - 4) % _ACL_ENTRY.size or int.from_bytes(value[:4], "little") != _ACL_VERSION:
        return False
    return all(tag in _ACL_TAGS for tag, _, _ in _ACL_ENTRY.iter_unpack(value[4:]))


def _show(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
