"""Writing one thing behind the other: in large pieces, with a checksum over all of it."""

from __future__ import annotations

import hashlib
from typing import Final

from fledge.output import ArtifactFile
from fledge.tree.content import Piece, Source

_BATCH: Final = 4 << 20
_MAX_HELD: Final = 64
"""Pieces of contents in one batch. Each may map as much as 2 MiB of a layer, all of which count as this process's memory."""


class Stream:
    """A part of the image that is written from front to back."""

    def __init__(self, target: ArtifactFile, offset: int) -> None:
        """`offset`: where it begins (bytes)."""
        self._target = target
        self._written = offset
        self._parts: list[bytes | memoryview] = []
        self._held: list[Piece] = []
        self._sha256 = hashlib.sha256()
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
        self._parts.append(piece.source.view(piece.start, piece.length))
        self._held.append(piece)
        self.position += piece.length
        if len(self._held) >= _MAX_HELD:
            self.flush()

    def fill(self, offset: int) -> None:
        """Adds zeros up to `offset`."""
        self.append(bytes(offset - self.position))

    def flush(self) -> None:
        """Writes what is gathered."""
        data = b"".join(self._parts)
        self._sha256.update(data)
        self._target.write(self._written, data)
        self._parts = []
        self._written = self.position
        self._release()

    def _release(self) -> None:
        """Gives back what the pieces mapped, of each source in one go."""
        spans: dict[int, tuple[Source, int, int]] = {}
        for piece in self._held:
            source, first, last = spans.get(id(piece.source), (piece.source, piece.start, piece.start))
            spans[id(source)] = source, min(first, piece.start), max(last, piece.start + piece.length)
        for source, first, last in spans.values():
            source.release(first, last - first)
        self._held = []

    def digest(self) -> bytes:
        """sha256 over all that was written."""
        return self._sha256.digest()
