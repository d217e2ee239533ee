"""Writing one thing behind the other, gathered into large writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fledge.output import ArtifactFile
from fledge.tree.content import Piece, Views

from fledge_fs_erofs.format import BLOCK

_BATCH: Final = 4 << 20
_MAX_HELD: Final = 64
"""Pieces of contents in one batch. Each may map as much as 2 MiB of a layer, all of which count as this process's memory."""


class Stream:
    """A part of the image that is written from front to back."""

    def __init__(self, target: ArtifactFile, offset: int, observe: Callable[[bytes], object] | None = None) -> None:
        """`offset`: where it begins (bytes). `observe`: called with all that is written, in order."""
        self._target = target
        self._written = offset
        self._parts: list[bytes | memoryview] = []
        self._views = Views()
        self._held = 0
        self._observe = observe
        self.position = offset
        """Where the next byte goes."""

    def append(self, data: bytes) -> None:
        """Adds bytes."""
        self._parts.append(data)
        self.position += len(data)
        if self.position - self._written >= _BATCH:
            self.flush()

    def append_piece(self, piece: Piece) -> None:
        """Adds a piece of a content."""
        self._parts.append(self._views.view(piece.source, piece.start, piece.length))
        self._held += 1
        self.position += piece.length
        if self._held >= _MAX_HELD:
            self.flush()

    def fill(self, offset: int) -> None:
        """Adds zeros up to `offset`."""
        self.append(bytes(offset - self.position))

    def fill_block(self) -> None:
        """Adds zeros up to where a block begins."""
        self.append(bytes(-self.position % BLOCK))

    def skip(self, offset: int) -> None:
        """Goes on at `offset`: what lies between is none of its business."""
        self.flush()
        self.position = self._written = offset

    def flush(self) -> None:
        """Writes what is gathered."""
        data = b"".join(self._parts)
        if self._observe is not None:
            self._observe(data)
        self._target.write(self._written, data)
        self._parts = []
        self._written = self.position
        self._views.release()
        self._held = 0
