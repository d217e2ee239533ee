"""File contents that are compressed in an image, decompressed when they are read."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from fledge.errors import BuildError

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.corrupt import Corrupt
from fledge_fs_erofs.extents import Extent, extents
from fledge_fs_erofs.image import Image, RawInode


class CompressedSource:
    """The bytes of one file."""

    __slots__ = ("_extents", "_image", "_inode", "_last", "size")

    def __init__(self, image: Image, inode: RawInode) -> None:
        self._image = image
        self._inode = inode
        self._extents: list[Extent] = []
        self._last: tuple[int, bytes] = -1, b""
        """The extent that was used last, and its bytes: replaced as one, because several threads read."""
        self.size = inode.size

    def view(self, start: int, length: int) -> memoryview:
        """Raises BuildError when an extent is corrupt."""
        try:
            if not self._extents:
                self._extents = extents(self._image, self._inode)
            parts = []
            end = start + length
            while start < end:
                number = bisect_right(self._extents, start, key=attrgetter("start")) - 1
                data = self._extent(number)
                inside = start - self._extents[number].start
                part = memoryview(data)[inside : inside + end - start]
                parts.append(part)
                start += len(part)
        except Corrupt as corrupt:
            raise BuildError(f"{self._image.path} is not an erofs image that can be read: {corrupt}") from None
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def release(self, start: int, length: int) -> None:
        """No more than an extent is kept."""

    def _extent(self, number: int) -> bytes:
        last, data = self._last
        if last != number:
            data = self._load(number)
            self._last = number, data
        return data

    def _load(self, number: int) -> bytes:
        import lz4.block  # type: ignore[import-untyped]

        start, offset, stored, plain = self._extents[number]
        end = self._extents[number + 1].start if number + 1 < len(self._extents) else self.size
        length = end - start
        nid = self._inode.nid
        if stored > fs.MAX_PCLUSTER or length > fs.MAX_EXTENT or (plain and length > stored):
            raise Corrupt(f"inode {nid} has an extent of {length} bytes in {stored}")
        data = self._image.read(offset, stored)
        self._image.source.release(offset, stored)
        if plain:
            return data[:length]
        try:
            data = bytes(lz4.block.decompress(data.lstrip(b"\0"), uncompressed_size=length))
        except lz4.block.LZ4BlockError as error:
            raise Corrupt(f"the data of inode {nid} at {start}: {error}") from None
        if len(data) != length:
            raise Corrupt(f"the data of inode {nid} at {start} have {len(data)} bytes instead of {length}")
        return data
