"""Writes one tree bottom up: its leaves as they fill, then the nodes above them, one block behind the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fledge.output import ArtifactFile

from fledge_fs_btrfs.checksum import crc32c
from fledge_fs_btrfs.format import (
    CHECKSUM_SIZE,
    GENERATION,
    HEADER,
    HEADER_FLAGS,
    ITEM,
    KEY,
    LEAF_ROOM,
    NODE,
    POINTER,
    POINTERS,
)

_BATCH = 256
"""Blocks of one write; each is two buffers."""
_ZEROS = bytes(LEAF_ROOM)


@dataclass(frozen=True, slots=True)
class Identity:
    """The UUIDs that are in every block or about every chunk."""

    filesystem: bytes
    chunk_tree: bytes
    device: bytes
    subvolume: bytes


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where a tree's blocks are: the leaves from `start`, behind them each level up to the root."""

    owner: int
    start: int
    levels: tuple[int, ...]
    """How many blocks each level has, leaves first."""

    @property
    def count(self) -> int:
        """Blocks of all levels."""
        return sum(self.levels)

    @property
    def end(self) -> int:
        """The first byte behind them."""
        return self.start + self.count * NODE

    @property
    def root(self) -> int:
        """The root's bytenr."""
        return self.end - NODE

    @property
    def level(self) -> int:
        """The root's level."""
        return len(self.levels) - 1

    def each(self) -> Iterator[tuple[int, int]]:
        """Every block's bytenr and level."""
        at = self.start
        for level, count in enumerate(self.levels):
            for _ in range(count):
                yield at, level
                at += NODE


def levels_for(runs: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """`Blocks.levels` of a tree whose items have these sizes, given as runs of (size, how many)."""
    leaves, room = 1, LEAF_ROOM
    for size, count in runs:
        size += ITEM.size
        fit = min(room // size, count)
        room -= fit * size
        count -= fit
        if count:
            per_leaf = LEAF_ROOM // size
            leaves += -(-count // per_leaf)
            room = LEAF_ROOM - ((count - 1) % per_leaf + 1) * size
    return _levels_above(leaves)


def _levels_above(leaves: int) -> tuple[int, ...]:
    levels = [leaves]
    while levels[-1] > 1:
        levels.append(-(-levels[-1] // POINTERS))
    return tuple(levels)


class TreeWriter:
    """One tree. `add` its items by rising keys, then `finish`."""

    def __init__(self, target: ArtifactFile, identity: Identity, owner: int, start: int) -> None:
        """`start`: the bytenr of the first block, which is also its offset in the image."""
        self._target = target
        self._identity = identity
        self._owner = owner
        self._start = self._next = self._written = start
        self._buffers: list[bytes] = []
        self._heads: list[bytes] = []
        self._bodies: list[bytes] = []
        self._room = LEAF_ROOM
        self._at = LEAF_ROOM
        self._first = (0, 0, 0)
        self._pointers: list[bytes] = []

    def add(self, objectid: int, kind: int, offset: int, data: bytes) -> None:
        """One item; `data` of at most MAX_ITEM bytes."""
        size = len(data)
        room = self._room - size - ITEM.size
        if room < 0:
            self._end_leaf()
            room = LEAF_ROOM - size - ITEM.size
        if not self._heads:
            self._first = objectid, kind, offset
        self._room = room
        self._at = at = self._at - size
        self._heads.append(ITEM.pack(objectid, kind, offset, at, size))
        self._bodies.append(data)

    def finish(self) -> Blocks:
        """Writes what is left."""
        if self._heads or not self._pointers:
            self._end_leaf()
        levels = [len(self._pointers)]
        while levels[-1] > 1:
            below, self._pointers = self._pointers, []
            for at in range(0, len(below), POINTERS):
                pointers = below[at : at + POINTERS]
                body = b"".join(pointers).ljust(LEAF_ROOM, b"\0")
                self._place(body, len(pointers), len(levels), KEY.unpack_from(pointers[0]))
            levels.append(len(self._pointers))
        self._flush()
        return Blocks(self._owner, self._start, tuple(levels))

    def _end_leaf(self) -> None:
        self._bodies.reverse()
        body = b"".join([*self._heads, _ZEROS[: self._room], *self._bodies])
        self._place(body, len(self._heads), 0, self._first)
        self._heads.clear()
        self._bodies.clear()
        self._room = self._at = LEAF_ROOM

    def _place(self, body: bytes, count: int, level: int, key: tuple[int, int, int]) -> None:
        at = self._next
        identity = self._identity
        header = HEADER.pack(
            identity.filesystem, at, HEADER_FLAGS, identity.chunk_tree, GENERATION, self._owner, count, level
        )
        block = header + body
        self._buffers += (crc32c(block).to_bytes(CHECKSUM_SIZE, "little"), block)
        self._pointers.append(POINTER.pack(*key, at, GENERATION))
        self._next = at + NODE
        if len(self._buffers) >= 2 * _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._buffers:
            self._target.writev(self._written, self._buffers)
        self._written = self._next
        self._buffers = []
