"""Extended attributes: what several inodes have stands once in a shared area, the rest behind the inode.

A POSIX ACL has the form of getxattr(2) (include/uapi/linux/posix_acl_xattr.h), and a prefix to itself.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence

from fledge.errors import BuildError
from fledge.reading import Corrupt
from fledge.tree import acl
from fledge.tree.inode import Inode

from fledge_fs_erofs.format import (
    MAX_SHARED_XATTRS,
    MAX_XATTR_COUNT,
    MAX_XATTR_LIST,
    MAX_XATTR_NAME,
    MAX_XATTR_VALUE,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_PREFIXES,
    XATTR_UNIT,
)
from fledge_fs_erofs.inventory import Inventory

_Attribute = tuple[bytes, bytes]


class XattrTable:
    """The attributes of all inodes, encoded."""

    def __init__(self, inventory: Inventory) -> None:
        """Raises BuildError, with the path, for what the format can't hold."""
        uses: Counter[_Attribute] = Counter()
        known: dict[tuple[_Attribute, ...], bytes] = {}
        attributed: list[tuple[int, tuple[_Attribute, ...]]] = []
        for number, inode in enumerate(inventory.inodes):
            if inode.xattrs:
                attributes = tuple(sorted(inode.xattrs.items()))
                if attributes not in known:
                    known[attributes] = b""
                    _check(inventory, inode)
                uses.update(attributes)
                attributed.append((number, attributes))
        self.shared, positions = _share([attribute for attribute, count in uses.items() if count > 1])
        """The shared area's bytes."""
        for attributes in known:
            known[attributes] = _encode(attributes, positions)
        self.encoded: dict[int, bytes] = {number: known[attributes] for number, attributes in attributed}
        """By the number of an inode that has any: what follows the inode."""
        for number, encoded in self.encoded.items():
            if icount(encoded) > MAX_XATTR_COUNT:
                raise BuildError(
                    f"{inventory.tree.path_of(inventory.inodes[number])}: its xattrs take {len(encoded)} bytes; erofs has room "
                    f"for {(MAX_XATTR_COUNT - 1) * XATTR_UNIT + XATTR_HEADER.size} beside those that other inodes share"
                )


def icount(encoded: bytes) -> int:
    """The i_xattr_icount of an inode with these bytes behind it."""
    return 1 + (len(encoded) - XATTR_HEADER.size) // XATTR_UNIT if encoded else 0


def _share(attributes: Sequence[_Attribute]) -> tuple[bytes, Mapping[_Attribute, int]]:
    """The area, and the number of each attribute in it."""
    area = bytearray()
    positions = {}
    for attribute in attributes:
        positions[attribute] = len(area) // XATTR_UNIT
        area += _entry(*attribute)
    return bytes(area), positions


def _encode(attributes: Sequence[_Attribute], positions: Mapping[_Attribute, int]) -> bytes:
    in_area = [each for each in attributes if each in positions]
    shared, too_many = in_area[:MAX_SHARED_XATTRS], in_area[MAX_SHARED_XATTRS:]
    own = [each for each in attributes if each not in positions] + too_many
    numbers = [positions[each].to_bytes(4, "little") for each in shared]
    return XATTR_HEADER.pack(0, len(shared)) + b"".join(numbers + [_entry(*each) for each in own])


def _entry(name: bytes, value: bytes) -> bytes:
    prefix = _prefix(name)
    rest = name[len(prefix) :]
    entry = XATTR_ENTRY.pack(len(rest), XATTR_PREFIXES[prefix], len(value)) + rest + value
    return entry.ljust(entry_size(entry), b"\0")


def _prefix(name: bytes) -> bytes:
    """The prefix that the format has a number for; empty where it has none."""
    for prefix in XATTR_PREFIXES:
        if name.startswith(prefix) and (len(name) > len(prefix)) == prefix.endswith(b"."):
            return prefix
    return b""


def _check(inventory: Inventory, inode: Inode) -> None:
    for name, value in inode.xattrs.items():
        if not _prefix(name):
            what = "is of no kind that erofs holds: user.*, trusted.*, security.* and POSIX ACLs"
        elif len(name) > MAX_XATTR_NAME:
            what = f"has a name of {len(name)} bytes; at most {MAX_XATTR_NAME} are possible"
        elif len(value) > MAX_XATTR_VALUE:
            what = f"has {len(value)} bytes; erofs holds at most {MAX_XATTR_VALUE}"
        elif (wrong := _wrong_acl(name, value)) is not None:
            what = wrong
        else:
            continue
        raise BuildError(f"{inventory.tree.path_of(inode)}: the xattr {_show(name)} {what}")
    names = sum(len(name) + 1 for name in inode.xattrs)
    if names > MAX_XATTR_LIST:
        raise BuildError(
            f"{inventory.tree.path_of(inode)}: the names of its xattrs take {names} bytes; at most {MAX_XATTR_LIST} are possible"
        )


def _wrong_acl(name: bytes, value: bytes) -> str | None:
    try:
        if name in acl.NAMES:
            acl.entries(value)
    except ValueError as error:
        return str(error)
    return None


def _show(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))


def decode(data: bytes) -> tuple[dict[bytes, bytes], Sequence[int]]:
    """What follows an inode: its own attributes, and the numbers of the shared ones. Raises Corrupt."""
    _, count = XATTR_HEADER.unpack_from(data)
    at = XATTR_HEADER.size + XATTR_UNIT * count
    if at > len(data):
        raise Corrupt(f"an inode with {count} shared xattrs, for which it has no room")
    numbers = struct.unpack_from(f"<{count}I", data, XATTR_HEADER.size)
    own: dict[bytes, bytes] = {}
    while at < len(data):
        size = entry_size(data, at)
        name, value = decode_entry(data[at : at + size])
        own[name] = value
        at += size
    return own, numbers


def entry_size(data: bytes, at: int = 0) -> int:
    """Bytes that the attribute at `at` takes."""
    name_length, _, length = XATTR_ENTRY.unpack_from(data, at)
    units: int = -(-(name_length + length) // XATTR_UNIT)
    return XATTR_ENTRY.size + units * XATTR_UNIT


def decode_entry(entry: bytes) -> _Attribute:
    """Name and value. Raises Corrupt when it is cut short or of an unknown kind."""
    name_length, number, length = XATTR_ENTRY.unpack_from(entry)
    prefix = next((prefix for prefix, known in XATTR_PREFIXES.items() if known == number), None)
    if prefix is None:
        raise Corrupt(f"an xattr has the unknown prefix {number}")
    value = XATTR_ENTRY.size + name_length
    if value + length > len(entry):
        raise Corrupt("an xattr is cut short")
    return prefix + entry[XATTR_ENTRY.size : value], entry[value : value + length]
