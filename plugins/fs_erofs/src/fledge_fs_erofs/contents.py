"""File contents as they are: where each goes, and the copy from the layers into the image."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

from fledge.output import ArtifactFile, Copy
from fledge.progress import Stage
from fledge.tree.content import Content, Piece

from fledge_fs_erofs.chunks import ChunkedFile
from fledge_fs_erofs.format import (
    BLOCK,
    BLOCK_BITS,
    CHUNK_BASED,
    FLAT_INLINE,
    FLAT_PLAIN,
    INCOMPAT_CHUNKED_FILE,
    NO_BLOCK,
)

FIRST_BLOCK: Final = 1
"""Contents begin behind the superblock."""
_OFFSET: Final = attrgetter("offset")


class FileData(NamedTuple):
    """What is to be stored."""

    content: Content
    head: int
    """Bytes that the inode and its xattrs take."""
    sparse: bool


class Stored(NamedTuple):
    """Where the data of an inode are: what it says of them, and what follows it."""

    layout: int
    unit: int
    """i_u: the first block, or what the layout has there."""
    following: int = 0
    """Bytes that follow the xattrs: first `own`, then `tail`."""
    own: Callable[[], bytes] = bytes
    """Made when it is written: an index may have 4 MiB."""
    tail: Sequence[Piece] = ()


EMPTY: Final = Stored(FLAT_PLAIN, NO_BLOCK)


class Contents(Protocol):
    """The part of the image that holds the files' bytes, from FIRST_BLOCK on."""

    incompatible: int
    """The features that reading it takes."""
    compression: bytes
    """What the superblock says of the compressor; empty without one."""

    @property
    def end(self) -> int:
        """The block behind the last one, once all is stored."""

    def store(self, files: Sequence[FileData], stage: Stage) -> Iterator[Stored]:
        """Each file's place, in order, which may be one beyond what an image has."""

    def finish(self, stage: Stage) -> None:
        """Writes what is not written yet. Everything else of the image is final by now."""


class PlainContents:
    """Contents that are copied: where to is known before, so all the rest can be written first."""

    def __init__(self, target: ArtifactFile) -> None:
        self._target = target
        self._copies: list[Copy] = []
        self.end = FIRST_BLOCK
        self.incompatible = INCOMPAT_CHUNKED_FILE
        self.compression = b""

    def store(self, files: Sequence[FileData], stage: Stage) -> Iterator[Stored]:
        """See Contents."""
        for file in files:
            stored, self.end, copies = (place_sparse if file.sparse else place)(file, self.end)
            self._copies += copies
            stage.advance(file.content.size - sum([length for _, _, _, length in copies]))
            yield stored

    def finish(self, stage: Stage) -> None:
        """Copies everything, by rising offset."""
        self._target.copy_settling(self._copies, stage.advance)


def place(file: FileData, first: int) -> tuple[Stored, int, list[Copy]]:
    """Whole blocks from `first` on, and the rest behind the inode if there is room.

    Returns where that is, the block behind it, and what is to be copied.
    """
    content = file.content
    size = content.size
    rest = size % BLOCK
    inline = 0 < rest <= BLOCK - file.head
    whole = size - rest if inline else size
    base = first << BLOCK_BITS
    copies = [(base + piece.offset, piece.source, piece.start, piece.length) for piece in cut(content, 0, whole)]
    stored = Stored(
        FLAT_INLINE if inline else FLAT_PLAIN,
        first if whole else NO_BLOCK,
        rest if inline else 0,
        tail=cut(content, whole, size) if inline else (),
    )
    return stored, first + blocks_of(whole), copies


def place_sparse(file: FileData, first: int) -> tuple[Stored, int, list[Copy]]:
    """As `place`, for a file with holes, which stay holes."""
    chunked = ChunkedFile(file.content, first)
    stored = Stored(CHUNK_BASED, chunked.bits, chunked.index_size, chunked.index)
    return stored, chunked.end, list(chunked.copies())


def cut(content: Content, start: int, end: int) -> list[Piece]:
    """The pieces of the bytes from `start` to `end`."""
    pieces = content.pieces
    found = []
    for index in range(bisect_right(pieces, start, key=_OFFSET, lo=1) - 1, len(pieces)):
        piece = pieces[index]
        if piece.offset >= end:
            break
        first, last = max(start, piece.offset), min(end, piece.offset + piece.length)
        if first < last:
            found.append(Piece(first, piece.source, piece.start + first - piece.offset, last - first))
    return found


def blocks_of(size: int) -> int:
    """How many blocks `size` bytes take."""
    return -(-size >> BLOCK_BITS)
