"""The keys of `[filesystem]` with `type = "ext4"`."""

from __future__ import annotations

from fledge.options import Options
from pydantic import Field


class Ext4Options(Options):
    """How much room there is, and how crashes are survived."""

    size_buffer_mb: int = Field(default=0, ge=0)
    """Free space for files, in MiB. 0: a quarter of the content, at least 64 MiB, at most 1 GiB."""
    preallocate: bool = False
    """Reserve the disk's blocks for the whole image, instead of leaving a sparse file."""
    journal: bool = True
    """Have a journal, so that a crash needs no check of the filesystem."""
