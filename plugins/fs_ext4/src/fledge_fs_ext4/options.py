"""The keys of `[filesystem]` with `type = "ext4"`."""

from __future__ import annotations

from fledge.options import DiskOptions


class Ext4Options(DiskOptions):
    """How much room there is, and how crashes are survived."""

    journal: bool = True
    """Have a journal, so that a crash needs no check of the filesystem."""
