"""The keys of `[filesystem]` with `type = "erofs"`."""

from __future__ import annotations

from typing import Annotated, Literal

from fledge.options import FilesystemOptions, Form


class ErofsOptions(FilesystemOptions):
    """Whether the image is compressed, and how the guest makes it writable."""

    compression: Literal["none"] = "none"
    """The compressor."""

    overlay_size: Annotated[
        str, Form(r"[1-9][0-9]*[KMGT]|([1-9][0-9]?|100)%", "a size such as 512M, nor 1% to 100%")
    ] = "1G"
    """Size of the guest's writable tmpfs over the image: `512M`, `1G`, or `50%` of its memory. The guest init reads it from
    /.fledge/workload; the filesystem itself does not hold it."""

    def guest_overlay_size(self) -> str | None:
        """`overlay_size`."""
        return self.overlay_size
