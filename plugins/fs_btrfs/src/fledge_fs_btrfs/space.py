"""Where things stand in an image: block groups, and the data's place in them.

Logical addresses are offsets in the image, for every chunk is mapped to where it is. In this order:

    1 MiB            one system group: the chunk tree
    5 MiB            data groups: the contents, and the free space behind them
    their end        one metadata group: all other trees, and their reserve behind them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.blocks import Run
from fledge.errors import BuildError

from fledge_fs_btrfs.format import (
    DATA,
    GIB,
    METADATA,
    MIB,
    MIRRORS,
    SECTOR_BITS,
    STRIPE,
    SYSTEM,
)

SYSTEM_START = MIB
"""Nothing is allocated below it (BTRFS_DEVICE_RANGE_RESERVED): boot loaders, and the first superblock."""
SYSTEM_LENGTH = 4 * MIB
DATA_START = SYSTEM_START + SYSTEM_LENGTH
GROUP = GIB
"""The largest data chunk that the kernel makes, but on large disks."""
SMALLEST = 109 * MIB
"""What mkfs.btrfs asks of a disk at least."""
LARGEST = (16 << 40) - 4096
"""Bytes of an image: what a file on ext4 can have."""


@dataclass(frozen=True, slots=True)
class BlockGroup:
    """A range of addresses for one kind of blocks. `used`: bytes from `start` on, mirrors of the superblock left out."""

    kind: int
    start: int
    length: int
    used: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.length


def data_end(content: int, free: int, metadata: int) -> int:
    """Where the data groups end that hold `content` and have `free` bytes left.

    `metadata`: bytes that the trees take at most; no mirror of the superblock comes between them. Raises BuildError for
    an image that may become too large.
    """
    end = DATA_START + content + free
    for mirror in MIRRORS[1:]:
        if mirror < end:
            end += STRIPE
    end = _round_up(end, MIB)
    for mirror in MIRRORS[1:]:
        if mirror - metadata < end <= mirror:
            end = mirror + MIB
    size = end + metadata_length(metadata, free)
    if size > LARGEST:
        raise BuildError(
            f"the btrfs image may need {size} bytes; at most {LARGEST} are possible",
            hint=f"{content} bytes are content, {free} are free space: see size_buffer_mb",
        )
    return end


def metadata_length(used: int, free: int) -> int:
    """How long the group must be for trees of `used` bytes, and for what is done to them and added to `free` bytes.

    Blocks are written anew before the old ones are free, so that a chmod of all files takes as much again. A file takes
    half a KiB, and there may be one for every 16 KiB, as mke2fs counts. The kernel reserves 16 blocks for each item that
    a system call may touch, and keeps 5.5 MiB for itself at least.
    """
    return _round_up(2 * used + 32 * MIB + free // 32, MIB)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


class DataSpace:
    """Hands out sectors by rising address."""

    def __init__(self, end: int) -> None:
        """`end`: of the data groups."""
        self._end = end
        self._next = DATA_START >> SECTOR_BITS
        self._limit = self._stretch_end()

    def take(self, count: int) -> Sequence[Run]:
        """`count` sectors, in runs that each are in one group, and not around a mirror of the superblock."""
        if self._next + count <= self._limit:
            start = self._next
            self._next += count
            return ((start, count),)
        runs = []
        while count:
            if self._next == self._limit:
                if self._next << SECTOR_BITS in MIRRORS:
                    self._next += STRIPE >> SECTOR_BITS
                self._limit = self._stretch_end()
            step = min(count, self._limit - self._next)
            runs.append((self._next, step))
            self._next += step
            count -= step
        return runs

    def groups(self) -> list[BlockGroup]:
        """The data groups, with what was taken of them."""
        groups = []
        here = self._next << SECTOR_BITS
        for start in range(DATA_START, self._end, GROUP):
            end = min(start + GROUP, self._end)
            used = max(min(here, end) - start, 0)
            used -= sum(STRIPE for mirror in MIRRORS if start <= mirror < min(here, end))
            groups.append(BlockGroup(DATA, start, end - start, used))
        return groups

    def _stretch_end(self) -> int:
        """Up to where extents can go from here: to the group's end or to the next mirror of the superblock."""
        at = self._next << SECTOR_BITS
        ends = [DATA_START + ((at - DATA_START) // GROUP + 1) * GROUP, *MIRRORS]
        return min(end for end in ends if end > at) >> SECTOR_BITS


def free_ranges(group: BlockGroup) -> list[tuple[int, int]]:
    """What is free in a group, as start and length; mirrors of the superblock count as free, as in the kernel's tree."""
    at = group.start
    ranges = []
    left = group.used
    for mirror in MIRRORS:
        if group.start <= mirror < group.end and at + left > mirror:
            ranges.append((mirror, STRIPE))
            left -= mirror - at
            at = mirror + STRIPE
    at += left
    if at < group.end:
        if ranges and sum(ranges[-1]) == at:
            at = ranges.pop()[0]
        ranges.append((at, group.end - at))
    return ranges


def system_group(used: int) -> BlockGroup:
    """The one that holds the chunk tree."""
    return BlockGroup(SYSTEM, SYSTEM_START, SYSTEM_LENGTH, used)


def metadata_group(start: int, used: int, free: int) -> BlockGroup:
    """The one that holds all other trees, which stand in one piece: see data_end."""
    assert not any(start <= mirror < start + used for mirror in MIRRORS)
    return BlockGroup(METADATA, start, metadata_length(used, free), used)
