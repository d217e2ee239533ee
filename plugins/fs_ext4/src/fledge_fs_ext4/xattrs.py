"""Extended attributes: in the inode's body, and one block for what that can't hold.

Sources: fs/ext4/xattr.h, fs/ext4/acl.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fledge.tree import acl

from fledge_fs_ext4.checksum import extend, on_disk
from fledge_fs_ext4.format import (
    BLOCK,
    INODE_XATTR_ROOM,
    XATTR_ACL_ACCESS,
    XATTR_ACL_DEFAULT,
    XATTR_BLOCK_CHECKSUM,
    XATTR_BLOCK_HEADER,
    XATTR_BODY_HEADER,
    XATTR_END,
    XATTR_ENTRY,
    XATTR_MAGIC,
    XATTR_SECURITY,
    XATTR_TRUSTED,
    XATTR_USER,
)

PREFIXES = {XATTR_USER: b"user.", XATTR_TRUSTED: b"trusted.", XATTR_SECURITY: b"security."}
ACLS = {XATTR_ACL_ACCESS: b"system.posix_acl_access", XATTR_ACL_DEFAULT: b"system.posix_acl_default"}

BODY_ROOM = INODE_XATTR_ROOM - XATTR_BODY_HEADER.size - XATTR_END
BLOCK_ROOM = BLOCK - XATTR_BLOCK_HEADER.size - XATTR_END

_ACL_VERSION = struct.Struct("<I")
_ACL_DISK_VERSION = 1
_ACL_ENTRY = struct.Struct("<HHI")
"""tag perm id: of a named user or group"""
_ACL_SHORT = struct.Struct("<HH")
"""tag perm: of all others"""

_WORD = 0xFFFFFFFF


class Unfit(Exception):  # noqa: N818 - not a failure, but a fact that the caller words with the path
    """ext4 can't hold the attribute; the message says which and why."""


class Stored(NamedTuple):
    """`body`: for the inode's end. `block`: for a block of its own, without its checksum; empty when not needed."""

    body: bytes
    block: bytes


class _Attribute(NamedTuple):
    kind: int
    name: bytes
    value: bytes

    @property
    def size(self) -> int:
        return XATTR_ENTRY.size + (len(self.name) + 3 & ~3) + (len(self.value) + 3 & ~3)


def encode(xattrs: Mapping[bytes, bytes]) -> Stored:
    """Raises Unfit for a name or ACL that ext4 does not know, and for more than inode and block hold."""
    attributes = [_attribute(name, value) for name, value in xattrs.items()]
    inside: list[_Attribute] = []
    outside: list[_Attribute] = []
    room = BODY_ROOM
    for attribute in sorted(attributes, key=lambda each: (-each.size, each)):
        if attribute.size <= room:
            room -= attribute.size
            inside.append(attribute)
        else:
            outside.append(attribute)
    needed = sum(attribute.size for attribute in outside)
    if needed > BLOCK_ROOM:
        largest = max(outside, key=lambda each: each.size)
        raise Unfit(
            f"extended attributes take {needed} bytes ({_show(_full_name(largest.kind, largest.name))} alone"
            f" {largest.size}) beside what the inode holds; ext4 has room for {BLOCK_ROOM}"
        )
    body = XATTR_BODY_HEADER.pack(XATTR_MAGIC) + _table(inside, INODE_XATTR_ROOM - 4, 0) if inside else b""
    return Stored(body, _block(outside) if outside else b"")


def held(xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The attributes as they are read back: entries of an ACL that name nobody have no id.

    Attributes that ext4 can't hold are returned as they are: no image holds them.
    """
    try:
        stored = encode(xattrs)
    except Unfit:
        return xattrs
    body = decode_body(stored.body)
    return {**body, **decode_block(stored.block)} if stored.block else body


def seal_block(block: bytes, seed: int, number: int) -> bytes:
    """The block with its checksum, which depends on where it stands. `seed`: the filesystem's."""
    checksum = on_disk(extend(extend(seed, number.to_bytes(8, "little")), block))
    return block[:XATTR_BLOCK_CHECKSUM] + checksum.to_bytes(4, "little") + block[XATTR_BLOCK_CHECKSUM + 4 :]


def _attribute(name: bytes, value: bytes) -> _Attribute:
    for index, full in ACLS.items():
        if name == full:
            return _Attribute(index, b"", _acl_to_disk(name, value))
    for index, prefix in PREFIXES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            if len(name) > 255:
                raise Unfit(
                    f"extended attribute {_show(name)} has a name of {len(name)} bytes; at most 255 are possible"
                )
            return _Attribute(index, name[len(prefix) :], value)
    raise Unfit(
        f"extended attribute {_show(name)} is of no kind that ext4 holds: user.*, trusted.*, security.*, "
        "system.posix_acl_access, system.posix_acl_default"
    )


def _table(attributes: Sequence[_Attribute], room: int, base: int) -> bytes:
    """Entries from the front and values from the back of `room` bytes; `base` is added to the values' offsets."""
    entries = []
    values = b""
    for index, name, value in sorted(attributes, key=lambda each: (each.kind, len(each.name), each.name)):
        padded = value.ljust(len(value) + 3 & ~3, b"\0")
        values = padded + values
        offset = base + room - len(values) if value else 0
        digest = _entry_hash(name, padded) if base else 0
        entries.append(XATTR_ENTRY.pack(len(name), index, offset, 0, len(value), digest))
        entries.append(name.ljust(len(name) + 3 & ~3, b"\0"))
    front = b"".join(entries)
    return front.ljust(room - len(values), b"\0") + values


def _block(attributes: Sequence[_Attribute]) -> bytes:
    table = _table(attributes, BLOCK - XATTR_BLOCK_HEADER.size, XATTR_BLOCK_HEADER.size)
    digest = 0
    at = 0
    for _ in attributes:
        length, _, _, _, _, entry_hash = XATTR_ENTRY.unpack_from(table, at)
        digest = (digest << 16 & _WORD) ^ (digest >> 16) ^ entry_hash
        at += XATTR_ENTRY.size + (length + 3 & ~3)
    return XATTR_BLOCK_HEADER.pack(XATTR_MAGIC, 1, 1, digest, 0) + table


def _entry_hash(name: bytes, padded_value: bytes) -> int:
    digest = 0
    for byte in name:
        digest = (digest << 5 & _WORD) ^ (digest >> 27) ^ byte
    for (word,) in struct.iter_unpack("<I", padded_value):
        digest = (digest << 16 & _WORD) ^ (digest >> 16) ^ word
    return digest


def _acl_to_disk(name: bytes, value: bytes) -> bytes:
    try:
        entries = acl.entries(value)
    except ValueError as error:
        raise Unfit(f"extended attribute {_show(name)} {error}") from None
    parts = [_ACL_VERSION.pack(_ACL_DISK_VERSION)]
    for tag, perm, who in entries:
        parts.append(_ACL_ENTRY.pack(tag, perm, who) if tag in acl.NAMED else _ACL_SHORT.pack(tag, perm))
    return b"".join(parts)


def _acl_from_disk(value: bytes) -> bytes:
    """Raises ValueError or struct.error when the value is broken."""
    if _ACL_VERSION.unpack_from(value)[0] != _ACL_DISK_VERSION:
        raise ValueError("an ACL of an unknown version")
    entries: list[acl.Entry] = []
    at = _ACL_VERSION.size
    while at < len(value):
        tag, perm = _ACL_SHORT.unpack_from(value, at)
        named = acl.check_tag(tag) in acl.NAMED
        entries.append(_ACL_ENTRY.unpack_from(value, at) if named else (tag, perm, acl.NO_ID))
        at += _ACL_ENTRY.size if named else _ACL_SHORT.size
    return acl.value_of(entries)


def decode_body(body: bytes) -> dict[bytes, bytes]:
    """The attributes at the end of an inode. Raises ValueError or struct.error when they are broken."""
    if len(body) < 4 or XATTR_BODY_HEADER.unpack_from(body)[0] != XATTR_MAGIC:
        return {}
    return dict(_decode(body[4:], 0))


def decode_block(block: bytes) -> dict[bytes, bytes]:
    """The attributes of a block. Raises ValueError or struct.error when they are broken."""
    magic, _, blocks, _, _ = XATTR_BLOCK_HEADER.unpack_from(block)
    if magic != XATTR_MAGIC or blocks != 1:
        raise ValueError("not a block of extended attributes")
    return dict(_decode(block, XATTR_BLOCK_HEADER.size))


def _decode(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    while at + XATTR_END <= len(data) and data[at : at + XATTR_END] != b"\0\0\0\0":
        name_length, index, offset, inum, size, _ = XATTR_ENTRY.unpack_from(data, at)
        at += XATTR_ENTRY.size
        name = data[at : at + name_length]
        at += name_length + 3 & ~3
        if inum:
            raise ValueError("an extended attribute in an inode of its own, which is not supported")
        if offset + size > len(data) or at > len(data):
            raise ValueError("an extended attribute beyond its block")
        value = data[offset : offset + size]
        yield _full_name(index, name), _acl_from_disk(value) if index in ACLS else value


def _full_name(index: int, name: bytes) -> bytes:
    if index in ACLS:
        return ACLS[index]
    if index in PREFIXES:
        return PREFIXES[index] + name
    raise ValueError(f"an extended attribute of the unknown kind {index}")


def _show(name: bytes) -> str:
    return repr(name)[1:]
