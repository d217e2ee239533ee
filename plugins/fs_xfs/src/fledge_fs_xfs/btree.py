"""B+trees, made from the leaves up. All blocks but the root are at least half full, as xfs_repair expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def levels(records: int, in_leaf: int, in_node: int, root_records: int, root_pointers: int) -> list[int]:
    """How many blocks each level below the root has, leaves first; none when the root holds the records itself."""
    counts = []
    most, fits = in_leaf, root_records
    while records > fits:
        records = -(-records // most)
        counts.append(records)
        most, fits = in_node, root_pointers
    return counts


def split(records: Sequence[T], parts: int) -> list[Sequence[T]]:
    """`records` in `parts` runs of the same length, give or take one."""
    size, longer = divmod(len(records), parts)
    runs = []
    at = 0
    for part in range(parts):
        step = size + (part < longer)
        runs.append(records[at : at + step])
        at += step
    return runs
