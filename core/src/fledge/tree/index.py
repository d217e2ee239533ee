"""What stands where in a layer's tar: fixed records and NUL-joined names, so that loading costs about a microsecond an entry.

The index file beside the tar, all numbers little-endian:

    header        _HEADER: what it belongs to, and how long each section is
    records       _RECORD for each entry, in the tar's order
    paths         of the entries, NUL between them
    targets       of the links among them, NUL between them
    extras        what few entries have: extended attributes, and the extents of sparse files
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fledge.tree.inode import NO_XATTRS
from fledge.values import Digest

FILE: Final = 0
DIRECTORY: Final = 1
SYMLINK: Final = 2
HARD_LINK: Final = 3
CHAR_DEVICE: Final = 4
BLOCK_DEVICE: Final = 5
FIFO: Final = 6

LINKS: Final = (SYMLINK, HARD_LINK)
MINOR_BITS: Final = 20
"""A device's number in a record is `major << 20 | minor`, as the kernel has it."""

Extents = Sequence[tuple[int, int, int]]
"""(offset in the file, start in the tar, length)."""

Record = tuple[int, int, int, int, int, int, int, int, int]
"""kind, mode, uid, gid, mtime (seconds, nanoseconds), size, start, extra.

`start`: where a file's bytes begin in the tar; a device's number. `extra`: 0, or which of the extras belongs to it.
"""

_RECORD: Final = struct.Struct("<BxHIIqIQQI")
_MAGIC: Final = b"fledge layer index"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<18sHI136sQQQQQ")
_EXTRA: Final = struct.Struct("<II")
_XATTR: Final = struct.Struct("<HI")
_EXTENT: Final = struct.Struct("<QQQ")

pack_record: Final = _RECORD.pack


class Extra:
    """What few entries have. `extents` is None where a file is not sparse."""

    __slots__ = ("extents", "xattrs")

    def __init__(self, xattrs: Mapping[bytes, bytes], extents: Extents | None) -> None:
        self.xattrs = xattrs
        self.extents = extents


class LayerIndex:
    """The entries of a layer in the tar's order.

    `paths`: relative, without `.`, `..` and empty components; b"" is the root. `targets`: of the hard links (as
    `paths`) and symlinks (verbatim) among the entries, in their order. `extras[0]` stands for none.
    """

    __slots__ = ("_records", "extras", "paths", "targets")

    def __init__(
        self, records: bytes | memoryview, paths: list[bytes], targets: list[bytes], extras: list[Extra]
    ) -> None:
        self._records = records
        self.paths = paths
        self.targets = targets
        self.extras = extras

    def __len__(self) -> int:
        return len(self.paths)

    def records(self) -> Iterator[Record]:
        """One for each path."""
        return _RECORD.iter_unpack(self._records)

    def dump(self, diff_id: Digest, tar_size: int) -> bytes:
        """The index file."""
        sections = (
            bytes(self._records),
            b"\0".join(self.paths),
            b"\0".join(self.targets),
            b"".join(_dump_extra(extra) for extra in self.extras[1:]),
        )
        body = b"".join(sections)
        lengths = [len(section) for section in sections[:3]]
        head = (str(diff_id).encode(), tar_size, *lengths, len(body))
        check = zlib.crc32(body, zlib.crc32(repr(head).encode()))
        return _HEADER.pack(_MAGIC, _VERSION, check, *head) + body

    @classmethod
    def load(cls, data: bytes, diff_id: Digest, tar_size: int) -> LayerIndex | None:
        """None where `data` is not a whole index file of this version for this tar."""
        if len(data) < _HEADER.size:
            return None
        magic, version, check, name, *numbers = _HEADER.unpack_from(data)
        if (magic, version, name.rstrip(b"\0"), numbers[0]) != (_MAGIC, _VERSION, str(diff_id).encode(), tar_size):
            return None
        head = (str(diff_id).encode(), *numbers)
        body = memoryview(data)[_HEADER.size :]
        if len(body) != numbers[-1] or zlib.crc32(body, zlib.crc32(repr(head).encode())) != check:
            return None
        ends = (numbers[1], numbers[1] + numbers[2], numbers[1] + numbers[2] + numbers[3])
        records = body[: ends[0]]
        paths = bytes(body[ends[0] : ends[1]]).split(b"\0") if records else []
        targets = bytes(body[ends[1] : ends[2]]).split(b"\0") if ends[2] > ends[1] else []
        return cls(records, paths, targets, [NO_EXTRA, *_load_extras(body[ends[2] :])])


NO_EXTRA: Final = Extra(NO_XATTRS, None)


class IndexBuilder:
    """Gathers the entries while the tar is read."""

    __slots__ = ("_extras", "_known", "_paths", "_records", "_targets")

    def __init__(self) -> None:
        self._records = bytearray()
        self._paths: list[bytes] = []
        self._targets: list[bytes] = []
        self._extras = [NO_EXTRA]
        self._known: dict[bytes, int] = {}

    def add(self, path: bytes, record: bytes) -> None:
        """`record`: from `pack_record`."""
        self._records += record
        self._paths.append(path)

    def add_link(self, path: bytes, target: bytes, record: bytes) -> None:
        """The same for a hard link or symlink."""
        self.add(path, record)
        self._targets.append(target)

    def add_extra(self, xattrs: Mapping[bytes, bytes], extents: Extents | None) -> int:
        """The number for a record's `extra`; equal ones share it, since a labelled image says the same a thousand times."""
        if not xattrs and extents is None:
            return 0
        extra = Extra(xattrs or NO_XATTRS, extents)
        number = self._known.setdefault(_dump_extra(extra), len(self._extras))
        if number == len(self._extras):
            self._extras.append(extra)
        return number

    def finish(self) -> LayerIndex:
        """The index of all that was added."""
        return LayerIndex(bytes(self._records), self._paths, self._targets, self._extras)


_NOT_SPARSE: Final = 0xFFFFFFFF


def _dump_extra(extra: Extra) -> bytes:
    parts = [_EXTRA.pack(len(extra.xattrs), _NOT_SPARSE if extra.extents is None else len(extra.extents))]
    for name, value in extra.xattrs.items():
        parts += (_XATTR.pack(len(name), len(value)), name, value)
    parts += [_EXTENT.pack(*extent) for extent in extra.extents or ()]
    return b"".join(parts)


def _load_extras(data: memoryview) -> Iterator[Extra]:
    at = 0
    while at < len(data):
        xattr_count, extent_count = _EXTRA.unpack_from(data, at)
        at += _EXTRA.size
        xattrs: dict[bytes, bytes] = {}
        for _ in range(xattr_count):
            name_length, value_length = _XATTR.unpack_from(data, at)
            at += _XATTR.size
            name = bytes(data[at : at + name_length])
            at += name_length
            xattrs[name] = bytes(data[at : at + value_length])
            at += value_length
        extents: Extents | None = None
        if extent_count != _NOT_SPARSE:
            stop = at + extent_count * _EXTENT.size
            extents = list(_EXTENT.iter_unpack(data[at:stop]))
            at = stop
        yield Extra(xattrs or NO_XATTRS, extents)
