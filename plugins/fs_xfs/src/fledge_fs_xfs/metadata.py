"""The blocks of directories, xattrs, symlinks and extent trees: written many at once."""

from __future__ import annotations

from fledge.blocks import Allocator, Run
from fledge.output import ArtifactFile

from fledge_fs_xfs.format import BLOCK_BITS
from fledge_fs_xfs.geometry import Geometry

_BATCH = 256


class MetadataBlocks:
    """Hands blocks out and writes them, by rising number as far as their makers do so."""

    def __init__(self, target: ArtifactFile, geometry: Geometry, allocator: Allocator, uuid: bytes) -> None:
        """`uuid`: the filesystem's, which all of them carry."""
        self.uuid = uuid
        self.address = geometry.address
        self._target = target
        self._allocator = allocator
        self._first = allocator.cursor
        self._blocks: list[bytes] = []

    def take(self, count: int) -> list[int]:
        """So many blocks (at least one), counted from the image's start, by rising number."""
        return [block for start, length in self._allocator.take(count) for block in range(start, start + length)]

    def put(self, at: int, block: bytes) -> None:
        """Writes a block that was taken."""
        if at != self._first + len(self._blocks) or len(self._blocks) >= _BATCH:
            self.flush()
            self._first = at
        self._blocks.append(block)

    def used(self) -> list[Run]:
        """Every run that was taken."""
        return self._allocator.used()

    def flush(self) -> None:
        """Writes what is gathered."""
        if self._blocks:
            self._target.writev(self._first << BLOCK_BITS, self._blocks)
        self._blocks = []
