"""Extended attributes: which of them XFS holds, under which name and in which form.

Sources: fs/xfs/xfs_xattr.c, fs/xfs/xfs_acl.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from fledge.tree import acl

from fledge_fs_xfs.format import (
    ATTR_FLAG_ROOT,
    ATTR_FLAG_SECURE,
    ATTR_MAX_VALUE,
    MAX_NAME,
    SHORT_ATTR,
    SHORT_ATTR_ENTRY,
    SHORT_ATTR_MAX,
)

_PREFIXES = {0: b"user.", ATTR_FLAG_ROOT: b"trusted.", ATTR_FLAG_SECURE: b"security."}
_ACLS = {b"system.posix_acl_access": b"SGI_ACL_FILE", b"system.posix_acl_default": b"SGI_ACL_DEFAULT"}
_ACL_NAMES = {stored: name for name, stored in _ACLS.items()}
"""Root's attributes by which XFS keeps POSIX ACLs; the kernel shows root both names."""

_ACL_COUNT = struct.Struct(">I")
_ACL_ENTRY = struct.Struct(">IIHxx")
"""ae_tag ae_id ae_perm: an entry as XFS keeps it"""


class Unfit(Exception):  # noqa: N818 - not a failure, but a fact that the caller words with the path
    """XFS can't hold the attribute; the message says which and why."""


class Attribute(NamedTuple):
    """As it is stored: `flags` for the name space, the name without its prefix."""

    name: bytes
    flags: int
    value: bytes


def parse(xattrs: Mapping[bytes, bytes]) -> list[Attribute]:
    """The attributes by name. Raises Unfit for a name, value or ACL that XFS can't hold."""
    return sorted([_attribute(name, value) for name, value in xattrs.items() if not _repeats_acl(xattrs, name, value)])


def show(attribute: Attribute) -> tuple[bytes, bytes]:
    """Name and value as getxattr(2) gives them. Raises ValueError when they are broken."""
    name, flags, value = attribute
    if flags == ATTR_FLAG_ROOT and name in _ACL_NAMES:
        return _ACL_NAMES[name], _acl_from_disk(value)
    if flags not in _PREFIXES:
        raise ValueError(f"an extended attribute of the unknown kind {flags:#x}")
    return _PREFIXES[flags] + name, value


def held(xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The attributes as they are read back: each ACL once, its entries that name nobody without an id.

    Attributes that XFS can't hold are returned as they are: no image holds them.
    """
    try:
        return dict(map(show, parse(xattrs)))
    except Unfit:
        return xattrs


def list_inside(attributes: list[Attribute]) -> bytes | None:
    """The attributes as they stand in an inode; None where the form can't hold them, whatever room there is."""
    parts: list[bytes] = []
    for name, flags, value in attributes:
        if len(value) > SHORT_ATTR_MAX:
            return None
        parts += (SHORT_ATTR_ENTRY.pack(len(name), len(value), flags), name, value)
    if len(attributes) > SHORT_ATTR_MAX:
        return None
    body = b"".join(parts)
    return SHORT_ATTR.pack(SHORT_ATTR.size + len(body), len(attributes)) + body


def read_inside(fork: bytes) -> list[Attribute]:
    """The reverse of `list_inside`. Raises ValueError or struct.error when the fork is broken."""
    total, count = SHORT_ATTR.unpack_from(fork)
    if total > len(fork):
        raise ValueError("extended attributes beyond their inode")
    at = SHORT_ATTR.size
    attributes = []
    for _ in range(count):
        name_length, value_length, flags = SHORT_ATTR_ENTRY.unpack_from(fork, at)
        at += SHORT_ATTR_ENTRY.size
        middle = at + name_length
        end = middle + value_length
        if end > total:
            raise ValueError("extended attributes beyond their inode")
        attributes.append(Attribute(fork[at:middle], flags, fork[middle:end]))
        at = end
    return attributes


def _attribute(name: bytes, value: bytes) -> Attribute:
    if name in _ACLS:
        return Attribute(_ACLS[name], ATTR_FLAG_ROOT, _checked(name, _acl_to_disk(name, value)))
    for flags, prefix in _PREFIXES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            if len(name) > MAX_NAME:
                raise Unfit(
                    f"extended attribute {_show(name)} has a name of {len(name)} bytes; at most {MAX_NAME} are possible"
                )
            stored = name[len(prefix) :]
            if flags == ATTR_FLAG_ROOT and stored in _ACL_NAMES:
                raise Unfit(f"extended attribute {_show(name)} is what xfs keeps {_ACL_NAMES[stored].decode()} in")
            return Attribute(stored, flags, _checked(name, value))
    raise Unfit(
        f"extended attribute {_show(name)} is of no kind that xfs holds: user.*, trusted.*, security.*, "
        "system.posix_acl_access, system.posix_acl_default"
    )


def _checked(name: bytes, value: bytes) -> bytes:
    if len(value) > ATTR_MAX_VALUE:
        raise Unfit(f"extended attribute {_show(name)} has {len(value)} bytes; xfs holds {ATTR_MAX_VALUE}")
    return value


def _repeats_acl(xattrs: Mapping[bytes, bytes], name: bytes, value: bytes) -> bool:
    """Whether it is an ACL under its second name, as one gets it who reads all attributes of an XFS as root."""
    acl = _ACL_NAMES.get(name.removeprefix(_PREFIXES[ATTR_FLAG_ROOT]))
    return acl is not None and acl in xattrs and _acl_to_disk(acl, xattrs[acl]) == value


def _acl_to_disk(name: bytes, value: bytes) -> bytes:
    try:
        entries = acl.entries(value)
    except ValueError as error:
        raise Unfit(f"extended attribute {_show(name)} {error}") from None
    return _ACL_COUNT.pack(len(entries)) + b"".join([_ACL_ENTRY.pack(tag, who, perm) for tag, perm, who in entries])


def _acl_from_disk(value: bytes) -> bytes:
    """Raises ValueError or struct.error when the value is broken."""
    (count,) = _ACL_COUNT.unpack_from(value)
    if len(value) < _ACL_COUNT.size + count * _ACL_ENTRY.size:
        raise ValueError("an ACL that is cut short")
    entries = []
    for at in range(count):
        tag, who, perm = _ACL_ENTRY.unpack_from(value, _ACL_COUNT.size + at * _ACL_ENTRY.size)
        entries.append((acl.check_tag(tag), perm, who if tag in acl.NAMED else acl.NO_ID))
    return acl.value_of(entries)


def _show(name: bytes) -> str:
    return repr(name)[1:]
