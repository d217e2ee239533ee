"""File contents that stand compressed in an image, decompressed when they are read."""

from __future__ import annotations

from array import array
from itertools import accumulate, groupby

from fledge.tree.content import EMPTY, Content, Piece

from fledge_fs_squashfs import format as fs
from fledge_fs_squashfs.image import Image


class FragmentSource:
    """A fragment block: the bytes of several files."""

    __slots__ = ("_image", "_offset", "_size", "size")

    def __init__(self, image: Image, offset: int, size: int) -> None:
        """`offset`, `size`: of the block in the image, as the fragment table has them."""
        self._image = image
        self._offset = offset
        self._size = size
        self.size = image.superblock.block_size

    def view(self, start: int, length: int) -> memoryview:
        """Raises BuildError when the block is corrupt or shorter."""
        data = self._image.data_block(self._offset, self._size, None)
        if start + length > len(data):
            raise self._image.corrupt(f"a file reaches past the fragment block at {self._offset}")
        return memoryview(data)[start : start + length]

    def release(self, start: int, length: int) -> None:
        """The image's cache is small."""


class BlocksSource:
    """The blocks of one file."""

    __slots__ = ("_image", "_sizes", "_starts", "size")

    def __init__(self, image: Image, start: int, sizes: array[int], size: int) -> None:
        """`sizes`: of the blocks as stored. `size`: bytes that they hold, without a tail in a fragment.

        Raises BuildError when they start outside of the image.
        """
        if start > image.superblock.used:
            raise image.corrupt(f"a file's blocks start at {start}")
        self._image = image
        self._sizes = sizes
        self._starts = array("Q", accumulate((stored & ~fs.DATA_RAW for stored in sizes), initial=start))
        self.size = size

    def view(self, start: int, length: int) -> memoryview:
        """Raises BuildError when a block is corrupt."""
        block_size = self._image.superblock.block_size
        first, last = start // block_size, (start + length - 1) // block_size
        if length == 0:
            return memoryview(b"")
        if first == last:
            inside = start - first * block_size
            return memoryview(self._block(first))[inside : inside + length]
        data = b"".join(map(self._block, range(first, last + 1)))
        inside = start - first * block_size
        return memoryview(data)[inside : inside + length]

    def release(self, start: int, length: int) -> None:
        """The image's cache is small."""

    def _block(self, index: int) -> bytes:
        block_size = self._image.superblock.block_size
        length = min(block_size, self.size - index * block_size)
        stored = self._sizes[index]
        return self._image.data_block(self._starts[index], stored, length) if stored else bytes(length)


def content(
    image: Image, start: int, sizes: array[int], size: int, fragment: FragmentSource | None, offset: int
) -> Content:
    """A file of `size` bytes: its blocks, holes where they are zeros, and the rest at `offset` of a fragment block."""
    if size == 0:
        return EMPTY
    block_size = image.superblock.block_size
    in_blocks = min(size, len(sizes) * block_size)
    pieces = []
    if any(sizes):
        source = BlocksSource(image, start, sizes, in_blocks)
        index = 0
        for stored, run in groupby(map(bool, sizes)):
            first, index = index, index + sum(1 for _ in run)
            if stored:
                begin, end = first * block_size, min(index * block_size, in_blocks)
                pieces.append(Piece(begin, source, begin, end - begin))
    if fragment is not None:
        pieces.append(Piece(in_blocks, fragment, offset, size - in_blocks))
    return Content(size, tuple(pieces))
