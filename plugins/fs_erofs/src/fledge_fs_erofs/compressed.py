"""File contents that are compressed in an image, decompressed when they are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from fledge.errors import BuildError
from fledge.reading import Corrupt

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.extents import Extent, extents
from fledge_fs_erofs.image import Image, RawInode

_START: Final = attrgetter("start")
_NONE: Final = -1, b""


class CompressedSource:
    """The bytes of one file."""

    __slots__ = ("_extents", "_image", "_inode", "_last", "size")

    def __init__(self, image: Image, inode: RawInode) -> None:
        self._image = image
        self._inode = inode
        self._extents: Sequence[Extent] = ()
        self._last = _NONE
        """The extent that was used last, and its bytes: replaced as one, because several threads read."""
        self.size = inode.size

    def view(self, start: int, length: int) -> memoryview:
        """Raises BuildError when an extent is corrupt."""
        parts = []
        end = start + length
        try:
            found = self._extents = self._extents or extents(self._image, self._inode)
            while start < end:
                number = bisect_right(found, start, key=_START) - 1
                data = self._bytes(found, number)
                inside = start - found[number].start
                parts.append(memoryview(data)[inside : inside + end - start])
                start += len(parts[-1])
        except Corrupt as corrupt:
            raise BuildError(f"{self._image.path} is not an erofs image that can be read: {corrupt}") from None
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def release(self, start: int, length: int) -> None:
        """Keeps no bytes."""
        self._last = _NONE

    def _bytes(self, found: Sequence[Extent], number: int) -> bytes:
        last, data = self._last
        if last != number:
            end = found[number + 1].start if number + 1 < len(found) else self.size
            data = self._load(found[number], end)
            self._last = number, data
        return data

    def _load(self, extent: Extent, end: int) -> bytes:
        start, offset, stored, plain = extent
        length = end - start
        if stored > fs.MAX_PCLUSTER or length > fs.MAX_EXTENT or (plain and length > stored):
            raise Corrupt(f"inode {self._inode.nid} has an extent of {length} bytes in {stored}")
        data = self._image.read(offset, stored)
        self._image.source.release(offset, stored)
        if plain:
            return data[:length]
        import lz4.block  # type: ignore[import-untyped]

        try:
            data = bytes(lz4.block.decompress(data.lstrip(b"\0"), uncompressed_size=length))
        except lz4.block.LZ4BlockError as error:
            raise Corrupt(f"the data of inode {self._inode.nid} at {start}: {error}") from None
        if len(data) != length:
            raise Corrupt(f"the data of inode {self._inode.nid} at {start} have {len(data)} bytes, not {length}")
        return data
