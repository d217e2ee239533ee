"""File contents as they are: where each goes, and the copy from the layers into the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from fledge.output import ArtifactFile, Run
from fledge.progress import Stage
from fledge.tree.content import Content, Piece

from fledge_fs_erofs.chunks import ChunkedFile
from fledge_fs_erofs.format import (
    BLOCK,
    BLOCK_BITS,
    CHUNK_BASED,
    FLAT_INLINE,
    FLAT_PLAIN,
    NO_BLOCK,
)

_SETTLE: Final = 32 << 20
"""Bytes of content after which the checksum's thread may go on."""


class Stored(NamedTuple):
    """Where the data of an inode are: what it says of them, and what follows it."""

    layout: int
    unit: int
    """i_u: the first block, or what the layout has there."""
    following: int = 0
    """Bytes that follow the xattrs: the index and the tail."""
    block_index: bytes = b""
    tail: Sequence[Piece] = ()
    """The last bytes of a content."""


EMPTY: Final = Stored(FLAT_PLAIN, NO_BLOCK)


class PlainContents:
    """Contents that are copied. `store` tells where they will be, `copy` brings them there."""

    def __init__(self, target: ArtifactFile, first: int) -> None:
        """`first`: the block where they begin."""
        self._target = target
        self._copies: list[Run] = []
        self.end = first
        """The block behind the last one."""

    def store(self, files: Iterable[tuple[Content, int]]) -> Iterator[Stored]:
        """Each content's place, in order. Beside a content: how many bytes may follow its inode."""
        for content, room in files:
            if not content.size:
                yield EMPTY
            elif not content.is_sparse:
                yield self._flat(content, room)
            else:
                chunked = ChunkedFile(content, self.end)
                self.end = chunked.end
                self._copies += chunked.copies()
                index = chunked.index()
                yield Stored(CHUNK_BASED, chunked.bits, len(index), index)

    def copy(self, stage: Stage) -> None:
        """Copies everything, by rising offset."""
        batch: list[Run] = []
        size = 0
        for run in self._copies:
            batch.append(run)
            size += run[3]
            if size >= _SETTLE:
                self._target.copy(batch)
                self._target.settled(run[0] + run[3])
                stage.advance(size)
                batch, size = [], 0
        self._target.copy(batch)
        stage.advance(size)

    def _flat(self, content: Content, room: int) -> Stored:
        """Whole blocks, and the rest behind the inode if there is room."""
        size = content.size
        rest = size % BLOCK
        inline = 0 < rest <= room
        whole = size - rest if inline else size
        first = NO_BLOCK
        if whole:
            first = self.end
            self.end += -(-whole >> BLOCK_BITS)
        tail = []
        for piece in content.pieces:
            offset, source, start, length = piece.offset, piece.source, piece.start, piece.length
            inside = min(length, whole - offset)
            if inside > 0:
                self._copies.append(((first << BLOCK_BITS) + offset, source, start, inside))
                offset, start, length = offset + inside, start + inside, length - inside
            if length:
                tail.append(Piece(offset, source, start, length))
        return Stored(FLAT_INLINE if inline else FLAT_PLAIN, first, rest if inline else 0, b"", tail)
