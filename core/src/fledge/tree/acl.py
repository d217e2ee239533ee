"""POSIX ACLs as getxattr(2) gives them and as trees hold them (include/uapi/linux/posix_acl_xattr.h).

Some filesystems keep them in a form of their own; the kernel opens no file whose ACL it can't read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

NAMES: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
"""The attributes that hold ACLs."""
NAMED: Final = (0x02, 0x08)
"""The tags of entries that name a user or a group."""
NO_ID: Final = 0xFFFFFFFF
"""The id of an entry that names nobody."""

Entry = tuple[int, int, int]
"""Tag, permissions, and the id of a user or group."""

_TAGS: Final = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20)
_VERSION: Final = struct.pack("<I", 2)
_ENTRY: Final = struct.Struct("<HHI")


def entries(value: bytes) -> list[Entry]:
    """What the attribute says; only entries that name somebody have an id. Raises ValueError: "is not ...", "has ..."."""
    if not value.startswith(_VERSION) or (len(value) - len(_VERSION)) % _ENTRY.size:
        raise ValueError("is not a POSIX ACL of version 2")
    found = list(_ENTRY.iter_unpack(value[len(_VERSION) :]))
    return [(check_tag(tag), perm, who if tag in NAMED else NO_ID) for tag, perm, who in found]


def value_of(found: Iterable[Entry]) -> bytes:
    """The attribute that says it."""
    return _VERSION + b"".join([_ENTRY.pack(*entry) for entry in found])


def check_tag(tag: int) -> int:
    """The tag. Raises ValueError when there is none such."""
    if tag not in _TAGS:
        raise ValueError(f"has an ACL entry of the unknown kind {tag:#x}")
    return tag
