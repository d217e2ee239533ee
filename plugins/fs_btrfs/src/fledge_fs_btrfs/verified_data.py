"""The contents of an image's files: every sector is checked when it is read."""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cached_property
from pathlib import Path

from fledge.errors import BuildError
from fledge.reading import Corrupt, reading

from fledge_fs_btrfs.checksum import crc32c
from fledge_fs_btrfs.format import CHECKSUM, EXTENT_CSUM, EXTENT_CSUM_ITEM
from fledge_fs_btrfs.volume import Root, Volume


class VerifiedData:
    """The image by logical addresses, as a Source. `view` raises BuildError for a sector that has changed."""

    def __init__(self, path: Path, volume: Volume, root: Root) -> None:
        """`root`: of the checksum tree."""
        self._path = path
        self._volume = volume
        self._root = root
        self.size = 1 << 64

    def view(self, start: int, length: int) -> memoryview:
        """The bytes at the address `start`."""
        sector = self._volume.sector
        first = start // sector * sector
        count = -(-(start + length - first) // sector)
        with reading(self._path, "a btrfs image"):
            offset = self._volume.offset(first, count * sector)
            data = self._volume.source.view(offset, count * sector)
            wanted = self._checksums(first, count)
        sums = struct.pack(f"<{count}I", *[crc32c(each) for (each,) in struct.iter_unpack(f"{sector}s", data)])
        if sums != wanted:
            bad = next(i for i in range(count) if sums[4 * i : 4 * i + 4] != wanted[4 * i : 4 * i + 4])
            raise BuildError(f"{self._path}: the data at byte {offset + bad * sector} have a wrong checksum")
        return data[start - first : start - first + length]

    def release(self, start: int, length: int) -> None:
        """As of the image's file; whoever copies releases all between the first and the last that was read."""
        self._volume.release(start, start + length)

    def _checksums(self, first: int, count: int) -> bytes:
        """Those of `count` sectors from the address `first` on."""
        sector = self._volume.sector
        starts, sums = self._known
        found = []
        while count:
            index = bisect_right(starts, first) - 1
            skip = (first - starts[index]) // sector if index >= 0 else 0
            part = sums[index][skip * CHECKSUM.size : (skip + count) * CHECKSUM.size] if index >= 0 else b""
            if not part:
                raise Corrupt(f"the data at the address {first} have no checksum")
            found.append(part)
            first += len(part) // CHECKSUM.size * sector
            count -= len(part) // CHECKSUM.size
        return b"".join(found)

    @cached_property
    def _known(self) -> tuple[list[int], list[bytes]]:
        starts, sums = [], []
        for objectid, kind, start, data in self._volume.items(self._root):
            if (objectid, kind) != (EXTENT_CSUM, EXTENT_CSUM_ITEM) or len(data) % CHECKSUM.size or not data:
                raise Corrupt("the tree of checksums has something else in it")
            starts.append(start)
            sums.append(data)
        return starts, sums
