"""A layer in the store."""

from __future__ import annotations

from dataclasses import dataclass

from fledge.values import Digest


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is in the store, verified and indexed."""

    diff_id: Digest
