"""Writing one thing behind the other, gathered into large writes."""

from __future__ import annotations

from typing import Final

from fledge.output import ArtifactFile

_BATCH: Final = 2 << 20


class Appender:
    """The end of an artifact that grows."""

    def __init__(self, target: ArtifactFile, offset: int) -> None:
        self._target = target
        self._written = offset
        self._buffers: list[bytes | bytearray | memoryview] = []
        self.position = offset
        """Where the next byte goes."""

    def append(self, data: bytes | memoryview) -> int:
        """Adds `data`, which must not change any more, and tells where it begins."""
        start = self.position
        self._buffers.append(data)
        self.position += len(data)
        if self.position - self._written >= _BATCH:
            self.flush()
        return start

    def flush(self) -> None:
        """Everything is in the file."""
        self._target.writev(self._written, self._buffers)
        self._buffers.clear()
        self._written = self.position
