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

    compression_level: int | None = Field(default=None, ge=0, le=12)
    """Of lz4. 0, the default: the fast mode; 1 to 12: lz4hc, smaller and many times as long to write, as fast to read."""

    overlay_size: Annotated[str, _OVERLAY_SIZE] = "1G"
    """Size of the guest's writable tmpfs over the image: `512M`, `1G`, or `50%` of its memory. The guest init reads it from
    /.fledge/workload; the filesystem itself does not hold it."""

    def guest_overlay_size(self) -> str | None:
        """`overlay_size`."""
        return self.overlay_size

    @model_validator(mode="after")
    def _level_is_of_a_compressor(self) -> Self:
        if self.compression == "none" and self.compression_level is not None:
            raise ValueError(f'compression_level {self.compression_level} makes no sense with compression = "none"')
        return self
