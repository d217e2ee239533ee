"""The keys of `[filesystem]` with `type = "erofs"`."""

from __future__ import annotations

from typing import Literal, Self

from fledge.options import OverlayOptions
from pydantic import Field, model_validator


class ErofsOptions(OverlayOptions):
    """How the image is compressed, and how the guest makes it writable."""

    compression: Literal["lz4", "none"] = "lz4"
    """The compressor. The guest's kernel must have it: lz4 as it is used here since Linux 5.17."""

    compression_level: int = Field(default=0, ge=0, le=12)
    """0: lz4's fast mode. 1 to 12: lz4hc, which is smaller and just as fast to read, but takes long to write."""

    @model_validator(mode="after")
    def _level_is_for_lz4(self) -> Self:
        if self.compression == "none" and self.compression_level:
            raise ValueError(f'compression_level {self.compression_level} is for lz4, not for compression = "none"')
        return self
