"""The xattr tables: every distinct set of attributes once, every large value once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor

from fledge.errors import BuildError
from fledge.tree.inode import Directory, Inode

from fledge_fs_squashfs.compress import Codec
from fledge_fs_squashfs.format import (
    U64,
    XATTR_ENTRY,
    XATTR_ID,
    XATTR_LIST_MAX,
    XATTR_NAME_MAX,
    XATTR_OUT_OF_LINE,
    XATTR_PREFIXES,
    XATTR_VALUE,
    XATTR_VALUE_MAX,
)
from fledge_fs_squashfs.metadata import MetadataTable
from fledge_fs_squashfs.walk import path_of

_Set = tuple[tuple[bytes, bytes], ...]


class XattrTable:
    """Sets of attributes, numbered in the order in which they are first asked for."""

    def __init__(self, root: Directory) -> None:
        """`root`: for the path in messages."""
        self._root = root
        self._sets: dict[_Set, int] = {}

    def __len__(self) -> int:
        return len(self._sets)

    def index(self, inode: Inode) -> int:
        """The number of the inode's attributes, which are not empty. Raises BuildError for what can't be held."""
        key = tuple(sorted(inode.xattrs.items()))
        number = self._sets.get(key)
        if number is None:
            self._check(inode, inode.xattrs)
            number = self._sets[key] = len(self._sets)
        return number

    def encode(self, pool: Executor, codec: Codec) -> tuple[list[bytes], bytes]:
        """The metadata blocks with names and values, and the ids that refer to them, before compression."""
        table = MetadataTable(pool, codec)
        uses = Counter(value for pairs in self._sets for _, value in pairs)
        # A reference takes 8 bytes, so only a longer value is worth one. The values that several sets share stand
        # in front of all sets, because a reference needs a position that is known.
        shared = {}
        for value, count in uses.items():
            if count > 1 and len(value) > U64.size:
                shared[value] = table.position
                table.append(XATTR_VALUE.pack(len(value)) + value)
        table.settle()
        references = {value: table.reference(position) for value, position in shared.items()}
        places = []
        for pairs in self._sets:
            entries = b"".join(_entry(name, value, references.get(value)) for name, value in pairs)
            places.append((table.position, len(pairs), len(entries)))
            table.append(entries)
        blocks = table.finish()
        ids = b"".join(XATTR_ID.pack(table.reference(at), count, size) for at, count, size in places)
        return blocks, ids

    def _check(self, inode: Inode, xattrs: Mapping[bytes, bytes]) -> None:
        for name, value in xattrs.items():
            if not name.startswith(XATTR_PREFIXES):
                raise BuildError(
                    f"{self._path(inode)}: squashfs can't hold the xattr {_show(name)}; it has user.*, trusted.* and security.*",
                    hint="use ext4, or remove the attribute from the image",
                )
            if len(name) > XATTR_NAME_MAX:
                raise BuildError(
                    f"{self._path(inode)}: the xattr name {_show(name)} has {len(name)} bytes; at most {XATTR_NAME_MAX} are allowed"
                )
            if len(value) > XATTR_VALUE_MAX:
                raise BuildError(
                    f"{self._path(inode)}: the xattr {_show(name)} has {len(value)} bytes; at most {XATTR_VALUE_MAX} are allowed"
                )
        names = sum(len(name) + 1 for name in xattrs)
        if names > XATTR_LIST_MAX:
            raise BuildError(
                f"{self._path(inode)}: the names of its xattrs take {names} bytes; at most {XATTR_LIST_MAX} are allowed"
            )

    def _path(self, inode: Inode) -> str:
        return path_of(self._root, inode)


def _entry(name: bytes, value: bytes, reference: int | None) -> bytes:
    kind = next(number for number, prefix in enumerate(XATTR_PREFIXES) if name.startswith(prefix))
    rest = name[len(XATTR_PREFIXES[kind]) :]
    if reference is None:
        return XATTR_ENTRY.pack(kind, len(rest)) + rest + XATTR_VALUE.pack(len(value)) + value
    return (
        XATTR_ENTRY.pack(kind | XATTR_OUT_OF_LINE, len(rest)) + rest + XATTR_VALUE.pack(U64.size) + U64.pack(reference)
    )


def _show(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
