"""Which sectors of a file hold data, and what to copy where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fledge.tree.content import Content, Source

from fledge_fs_btrfs.format import SECTOR, SECTOR_BITS
from fledge_fs_btrfs.space import Run

Extent = tuple[int, int, int]
"""First sector of the file, first sector of the image, how many."""

Copy = tuple[int, Source, int, int]
"""Bytes to copy: see ArtifactFile.copy."""


def data_runs(content: Content) -> list[Run]:
    """The file's sectors that hold data. A sector of which a hole covers a part holds zeros there."""
    runs: list[Run] = []
    begin = end = 0
    for piece in content.pieces:
        if not piece.length:
            continue
        first = piece.offset >> SECTOR_BITS
        if first > end or end == begin:
            if end > begin:
                runs.append((begin, end - begin))
            begin = first
        end = (piece.offset + piece.length + SECTOR - 1) >> SECTOR_BITS
    if end > begin:
        runs.append((begin, end - begin))
    return runs


def copies(content: Content, placed: Sequence[Extent]) -> Iterator[Copy]:
    """What to copy where so that the extents hold the content."""
    at = 0
    for piece in content.pieces:
        done = 0
        while done < piece.length:
            offset = piece.offset + done
            while (placed[at][0] + placed[at][2]) << SECTOR_BITS <= offset:
                at += 1
            first, start, count = placed[at]
            step = min(piece.length - done, ((first + count) << SECTOR_BITS) - offset)
            yield offset + ((start - first) << SECTOR_BITS), piece.source, piece.start + done, step
            done += step
