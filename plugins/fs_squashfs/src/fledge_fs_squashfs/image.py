"""Random access to an image's blocks. Nothing that an image says is believed before it is checked."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fledge.errors import BuildError

from fledge_fs_squashfs import format as fs
from fledge_fs_squashfs.compress import Codec, decoder
from fledge_fs_squashfs.superblock import Superblock

MAX_METADATA: Final = 512 << 20
"""Bytes that all inodes, names, block lists and xattrs may take: a few bytes of an image can stand for 8 KiB of them."""

_METADATA_CACHE: Final = 1024
_DATA_CACHE: Final = 8


class Image:
    """An open image. Safe to read from several threads; closed when nobody refers to it any more.

    All methods raise BuildError when the image is corrupt; `corrupt` makes one that names the file.
    """

    def __init__(self, path: Path) -> None:
        """Raises BuildError when it is no squashfs image that can be read."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BuildError(f"can't read {path}: {error.strerror}") from error
        weakref.finalize(self, os.close, self._fd)
        try:
            self.superblock = Superblock.decode(self._pread(fs.SUPERBLOCK.size, 0), os.fstat(self._fd).st_size)
            self._codec: Codec = decoder(self.superblock.compressor)
        except BuildError as error:
            raise self.corrupt(error.message) from error
        self._metadata_left = MAX_METADATA
        self._data = _Cache(_DATA_CACHE)
        self._metadata = _Cache(_METADATA_CACHE)

    def corrupt(self, what: str) -> BuildError:
        """The error to raise: `what` about this image."""
        return BuildError(f"{self.path} is no squashfs image that can be read: {what}")

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as they stand in the file."""
        if offset + length > self.superblock.used:
            raise self.corrupt(f"something at {offset} reaches past its end")
        data = self._pread(length, offset)
        if len(data) != length:
            raise self.corrupt("it became shorter while it was read")
        return data

    def data_block(self, offset: int, size: int, length: int | None) -> bytes:
        """A data or fragment block. `size` as stored; `length` after decompression, None: at most the block size."""
        limit = self.superblock.block_size if length is None else length
        stored = size & ~fs.DATA_RAW
        if stored > limit:
            raise self.corrupt(f"the block at {offset} has {stored} bytes, more than {limit}")

        def load() -> bytes:
            data = self.read(offset, stored)
            return data if size & fs.DATA_RAW else self._decompress(data, limit, offset)

        data = self._data.get(offset, load)
        if length is not None and len(data) != length:
            raise self.corrupt(f"the block at {offset} has {len(data)} bytes instead of {length}")
        return data

    def metadata_block(self, offset: int) -> tuple[bytes, int]:
        """A metadata block, and where the next one begins."""
        (header,) = fs.METADATA_HEADER.unpack(self.read(offset, fs.METADATA_HEADER.size))
        stored = header & ~fs.METADATA_RAW
        if not 0 < stored <= fs.METADATA_SIZE:
            raise self.corrupt(f"the metadata block at {offset} has {stored} bytes")
        begin = offset + fs.METADATA_HEADER.size

        def load() -> bytes:
            data = self.read(begin, stored)
            return data if header & fs.METADATA_RAW else self._decompress(data, fs.METADATA_SIZE, offset)

        return self._metadata.get(offset, load), begin + stored

    def spend(self, length: int) -> None:
        """Counts metadata that is about to be read against what there may be."""
        self._metadata_left -= length
        if self._metadata_left < 0:
            raise self.corrupt(f"its metadata takes more than {MAX_METADATA >> 20} MiB")

    def table_entry(self, table: int, index: int, size: int) -> bytes:
        """Entry `index` of a flat table, whose list of blocks stands at `table`; `size`: of an entry."""
        per_block = fs.METADATA_SIZE // size
        (block,) = fs.U64.unpack(self.read(table + index // per_block * fs.U64.size, fs.U64.size))
        return Cursor(self, block, index % per_block * size).take(size)

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise BuildError(f"can't read {self.path}: {error.strerror}") from error

    def _decompress(self, data: bytes, limit: int, offset: int) -> bytes:
        try:
            return self._codec.decompress(data, limit)
        except BuildError as error:
            raise self.corrupt(f"the block at {offset}: {error.message}") from error


class Cursor:
    """Reads on through consecutive metadata blocks."""

    def __init__(self, image: Image, block: int, offset: int) -> None:
        """From `offset` in the metadata block that begins at byte `block` of the image."""
        self._image = image
        self._at = offset
        self._data, self._next = image.metadata_block(block)
        if offset > len(self._data):
            raise image.corrupt(f"a reference leads past the metadata block at {block}")

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        self._image.spend(length)
        at = self._at
        end = at + length
        if end <= len(self._data):
            self._at = end
            return self._data[at:end]
        parts = [self._data[at:]]
        missing = end - len(self._data)
        while missing:
            self._data, self._next = self._image.metadata_block(self._next)
            parts.append(self._data[:missing])
            self._at = min(missing, len(self._data))
            missing -= self._at
        return b"".join(parts)


class _Cache:
    """The blocks that were used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: int, load: Callable[[], bytes]) -> bytes:
        with self._lock:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
                return found
        found = load()
        with self._lock:
            self._blocks[key] = found
            if len(self._blocks) > self._limit:
                self._blocks.popitem(last=False)
        return found
