"""The keys of `[filesystem]` with `type = "erofs"`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fledge.options import FilesystemOptions, Form
from pydantic import Field, model_validator

_OVERLAY_SIZE = Form(r"[1-9][0-9]*[KMGT]|([1-9][0-9]?|100)%", "a size with K, M, G or T, such as 512M, nor 1% to 100%")


class ErofsOptions(FilesystemOptions):
    """How the image is compressed, and how the guest makes it writable."""

    compression: Literal["lz4", "none"] = "lz4"
    """The compressor. The guest's kernel must have it: lz4 as it is used here since Linux 5.17."""

    compression_level: int = Field(default=0, ge=0, le=12)
    """0: lz4's fast mode. 1 to 12: lz4hc, which is smaller and just as fast to read, but takes long to write."""

    overlay_size: Annotated[str, _OVERLAY_SIZE] = "1G"
    """Size of the guest's writable tmpfs over the image: `512M`, `1G`, or `50%` of its memory. The guest init reads it from
    /.fledge/workload; the filesystem itself does not hold it."""

    def guest_overlay_size(self) -> str | None:
        """`overlay_size`."""
        return self.overlay_size

    @model_validator(mode="after")
    def _level_is_for_lz4(self) -> Self:
        if self.compression == "none" and self.compression_level:
            raise ValueError(f'compression_level {self.compression_level} is for lz4, not for compression = "none"')
        return self
