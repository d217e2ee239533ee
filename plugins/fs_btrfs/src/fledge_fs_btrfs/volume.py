"""Reads the structures of a btrfs image: superblock, chunks, and the items of any tree.

The image may be hostile: every number is checked before it is used, and nothing is followed twice. Raises Corrupt where
the image is broken, and where it uses what is not supported.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fledge.reading import Corrupt
from fledge.tree.content import FileSource

from fledge_fs_btrfs.checksum import crc32c
from fledge_fs_btrfs.format import (
    CHECKSUM_SIZE,
    CHUNK,
    CHUNK_ITEM,
    CHUNK_STRIPE,
    DUP,
    FIRST_CHUNK_TREE,
    HEADER,
    HEADER_SIZE,
    INCOMPAT,
    INCOMPAT_COMPRESS_LZO,
    INCOMPAT_COMPRESS_ZSTD,
    INCOMPAT_DEFAULT_SUBVOL,
    INCOMPAT_METADATA_UUID,
    INCOMPAT_MIXED_GROUPS,
    ITEM,
    KEY,
    MAGIC,
    MAX_LEVEL,
    MIRRORS,
    POINTER,
    PROFILES,
    ROOT,
    ROOT_LEVEL,
    ROOT_PLACE,
    ROOT_PLACE_OFFSET,
    SECTOR,
    SUPERBLOCK,
    SUPERBLOCK_SIZE,
    SYSTEM_CHUNKS,
)
from fledge_fs_btrfs.superblock import Superblock

_KNOWN_INCOMPAT = (
    INCOMPAT
    | INCOMPAT_DEFAULT_SUBVOL
    | INCOMPAT_MIXED_GROUPS
    | INCOMPAT_COMPRESS_LZO
    | INCOMPAT_COMPRESS_ZSTD
    | INCOMPAT_METADATA_UUID
)
_CHECKSUMS = {1: "xxhash64", 2: "sha256", 3: "blake2b"}
_SIZES = tuple(SECTOR << shift for shift in range(5))
"""Of sectors and tree blocks: 4 to 64 KiB."""

Item = tuple[int, int, int, bytes]
"""Key and data."""


class Root(NamedTuple):
    """Where a tree is."""

    address: int
    level: int
    generation: int


def parse_root(owner: int, data: bytes) -> Root:
    """Where the tree of a ROOT_ITEM is. Older items end before the generation's copy, so not all is there."""
    if not ROOT_LEVEL < len(data) <= ROOT.size:
        raise Corrupt(f"the root of tree {owner} has {len(data)} bytes")
    generation, _, address = ROOT_PLACE.unpack_from(data, ROOT_PLACE_OFFSET)
    return Root(address, data[ROOT_LEVEL], generation)


class Volume:
    """An image, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or Corrupt for what is no btrfs or uses features that are not supported."""
        self.source = FileSource(path)
        found = _superblock(self._bytes(MIRRORS[0], SUPERBLOCK_SIZE))
        if found.total_bytes > self.source.size:
            raise Corrupt(f"it is cut short: {self.source.size} of {found.total_bytes} bytes are there")
        self.sector = found.sectorsize
        self._node = found.nodesize
        self._uuid = found.metadata_uuid if found.incompat_flags & INCOMPAT_METADATA_UUID else found.fsid
        self._starts: list[int] = []
        self._chunks: list[tuple[int, int, int]] = []
        self._add_chunks(_system_chunks(found))
        chunk_root = Root(found.chunk_root, found.chunk_root_level, found.chunk_root_generation)
        found_chunks = [
            (offset, data)
            for objectid, kind, offset, data in self.items(chunk_root)
            if (objectid, kind) == (FIRST_CHUNK_TREE, CHUNK_ITEM)
        ]
        self._starts, self._chunks = [], []
        self._add_chunks(found_chunks)
        self.root = Root(found.root, found.root_level, found.generation)

    def offset(self, address: int, length: int) -> int:
        """Where a range of logical addresses stands in the image. Raises Corrupt when it does not, as a whole."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            start, size, offset = self._chunks[index]
            if address + length <= start + size and offset + address - start + length <= self.source.size:
                return offset + address - start
        raise Corrupt(f"there are no {length} bytes at the address {address}")

    def release(self, start: int, end: int) -> None:
        """Drops a range of logical addresses from memory."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        for chunk, length, offset in self._chunks[first : bisect_right(self._starts, end)]:
            begin, stop = max(start, chunk), min(end, chunk + length)
            self.source.release(offset + begin - chunk, stop - begin)

    def begins_chunk(self, address: int) -> bool:
        """Whether the chunk of the address before is another one."""
        index = bisect_left(self._starts, address)
        return index < len(self._starts) and self._starts[index] == address

    def items(self, root: Root) -> Iterator[Item]:
        """All items of a tree, in the order of their keys."""
        seen: set[int] = set()
        last = (-1, 0, 0)
        stack = [root]
        while stack:
            place = stack.pop()
            if place.address in seen:
                raise Corrupt(f"the tree block {place.address} is in its tree twice")
            seen.add(place.address)
            block, count = self._block(place)
            if place.level:
                stack.extend(reversed(list(self._below(place, block, count))))
                continue
            room = self._node - HEADER_SIZE
            heads = count * ITEM.size
            for at in range(HEADER_SIZE, HEADER_SIZE + heads, ITEM.size):
                objectid, kind, offset, start, size = ITEM.unpack_from(block, at)
                key = (objectid, kind, offset)
                if key <= last or start < heads or start + size > room:
                    raise Corrupt(f"the tree block {place.address} has items that are out of order or place")
                last = key
                begin = HEADER_SIZE + start
                yield objectid, kind, offset, block[begin : begin + size]

    def _below(self, place: Root, block: bytes, count: int) -> Iterator[Root]:
        for at in range(HEADER_SIZE, HEADER_SIZE + count * POINTER.size, POINTER.size):
            _, _, _, address, generation = POINTER.unpack_from(block, at)
            yield Root(address, place.level - 1, generation)

    def _block(self, place: Root) -> tuple[bytes, int]:
        """A block that is what the one above says of it, and how many items or pointers it has."""
        data = self._bytes(self.offset(place.address, self._node), self._node)
        fsid, address, _, _, generation, _, count, level = HEADER.unpack_from(data, CHECKSUM_SIZE)
        if crc32c(data[CHECKSUM_SIZE:]).to_bytes(CHECKSUM_SIZE, "little") != data[:CHECKSUM_SIZE]:
            raise Corrupt(f"the tree block {place.address} has a wrong checksum")
        if (fsid, address, generation, level) != (self._uuid, place.address, place.generation, place.level):
            raise Corrupt(f"the tree block {place.address} is not the one that belongs there")
        if count * (POINTER.size if level else ITEM.size) > self._node - HEADER_SIZE or (level and not count):
            raise Corrupt(f"the tree block {place.address} has {count} items")
        return data, count

    def _add_chunks(self, chunks: list[tuple[int, bytes]]) -> None:
        end = 0
        for start, data in sorted(chunks):
            if len(data) < CHUNK.size + CHUNK_STRIPE.size:
                raise Corrupt(f"the chunk at the address {start} has {len(data)} bytes")
            length, _, _, kind, _, _, _, _, _ = CHUNK.unpack_from(data)
            if kind & PROFILES & ~DUP:
                raise Corrupt(
                    f"the chunk at the address {start} is striped or on several devices, which is not supported"
                )
            _, offset, _ = CHUNK_STRIPE.unpack_from(data, CHUNK.size)
            if start < end or not length:
                raise Corrupt(f"the chunk at the address {start} overlaps another one or is empty")
            end = start + length
            self._starts.append(start)
            self._chunks.append((start, length, offset))

    def _bytes(self, start: int, length: int) -> bytes:
        if start + length > self.source.size:
            raise Corrupt("it is cut short")
        return bytes(self.source.view(start, length))


def _superblock(data: bytes) -> Superblock:
    found = Superblock._make(SUPERBLOCK.unpack_from(data, CHECKSUM_SIZE))
    if found.magic != MAGIC:
        raise Corrupt("it has no superblock")
    if found.csum_type:
        name = _CHECKSUMS.get(found.csum_type, found.csum_type)
        raise Corrupt(f"its checksums are {name}, which is not supported")
    if crc32c(data[CHECKSUM_SIZE:]).to_bytes(CHECKSUM_SIZE, "little") != data[:CHECKSUM_SIZE]:
        raise Corrupt("the superblock has a wrong checksum")
    if found.incompat_flags & ~_KNOWN_INCOMPAT:
        raise Corrupt(f"it has features that are not supported: {found.incompat_flags & ~_KNOWN_INCOMPAT:#x}")
    if found.num_devices != 1:
        raise Corrupt(f"it is one of {found.num_devices} devices, which is not supported")
    if found.log_root:
        raise Corrupt("it was not unmounted: its log is to be replayed")
    for size in (found.sectorsize, found.nodesize):
        if size not in _SIZES:
            raise Corrupt(f"it has sectors of {found.sectorsize} bytes and tree blocks of {found.nodesize}")
    if max(found.root_level, found.chunk_root_level) >= MAX_LEVEL:
        raise Corrupt("a tree is too high")
    return found


def _system_chunks(found: Superblock) -> list[tuple[int, bytes]]:
    chunks = []
    at, end = 0, found.sys_chunk_array_size
    while at < end:
        if end > SYSTEM_CHUNKS or at + KEY.size + CHUNK.size > end:
            raise Corrupt("the superblock's chunks are broken")
        _, kind, start = KEY.unpack_from(found.sys_chunk_array, at)
        stripes = CHUNK.unpack_from(found.sys_chunk_array, at + KEY.size)[7]
        size = CHUNK.size + stripes * CHUNK_STRIPE.size
        at += KEY.size
        if kind != CHUNK_ITEM or at + size > end:
            raise Corrupt("the superblock's chunks are broken")
        chunks.append((start, found.sys_chunk_array[at : at + size]))
        at += size
    return chunks
