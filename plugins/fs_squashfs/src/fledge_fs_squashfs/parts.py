"""Parts of file contents, for workers: views of the sources where that can be, given back when they are done with."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import Final

from fledge.tree.content import Content, Views

_OFFSET: Final = attrgetter("offset")


class ContentReader(Views):
    """Reads parts of contents."""

    __slots__ = ()

    def read(self, content: Content, start: int, length: int) -> bytes | memoryview:
        """`length` bytes from `start`, holes as zeros; a view of the source where one piece covers them."""
        pieces = content.pieces
        at = 0 if len(pieces) == 1 else max(0, bisect_right(pieces, start, key=_OFFSET) - 1)
        if at < len(pieces):
            piece = pieces[at]
            inside = start - piece.offset
            if inside >= 0 and inside + length <= piece.length:
                return self.view(piece.source, piece.start + inside, length)
        whole = bytearray(length)
        end = start + length
        while at < len(pieces) and pieces[at].offset < end:
            piece = pieces[at]
            first = max(start, piece.offset)
            last = min(end, piece.offset + piece.length)
            if first < last:
                whole[first - start : last - start] = self.view(
                    piece.source, piece.start + first - piece.offset, last - first
                )
            at += 1
        return bytes(whole)
