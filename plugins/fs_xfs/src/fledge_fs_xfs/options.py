"""The keys of `[filesystem]` with `type = "xfs"`."""

from __future__ import annotations

from fledge.options import DiskOptions


class XfsOptions(DiskOptions):
    """How much room there is."""
