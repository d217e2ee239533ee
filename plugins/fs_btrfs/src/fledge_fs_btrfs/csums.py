"""The checksums of the data: crc32c of every sector, in the order of the sectors in the image."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from sys import byteorder

from fledge.blocks import Run
from fledge.output import Copy

from fledge_fs_btrfs.checksum import crc32c
from fledge_fs_btrfs.format import CHECKSUM, MAX_CHECKSUMS, SECTOR, SECTOR_BITS
from fledge_fs_btrfs.fs_tree import DataExtent

_SECTORS = struct.Struct(f"{SECTOR}s")


def checksummed(extents: Iterable[DataExtent]) -> list[Run]:
    """The sectors that each item of the tree covers: as much in a row as one holds."""
    runs: list[Run] = []
    for start, length, _, _ in extents:
        first, count = start >> SECTOR_BITS, length >> SECTOR_BITS
        if runs and sum(runs[-1]) == first:
            first, before = runs.pop()
            count += before
        while count > MAX_CHECKSUMS:
            runs.append((first, MAX_CHECKSUMS))
            first += MAX_CHECKSUMS
            count -= MAX_CHECKSUMS
        runs.append((first, count))
    return runs


class DataChecksums:
    """Takes the contents as they are copied; what lies between them in a sector is zero."""

    def __init__(self) -> None:
        self._sums = array("I")
        self._sector = -1
        """The one that is begun."""
        self._partial = bytearray(SECTOR)

    def add(self, runs: Iterable[Copy]) -> None:
        """Contents by rising offset in the image."""
        for offset, source, start, length in runs:
            while length:
                within = offset & SECTOR - 1
                if within or length < SECTOR:
                    step = min(SECTOR - within, length)
                    if offset >> SECTOR_BITS != self._sector:
                        self._end_sector()
                        self._sector = offset >> SECTOR_BITS
                    self._partial[within : within + step] = source.view(start, step)
                else:
                    self._end_sector()
                    step = length & -SECTOR
                    self._sums.extend([crc32c(data) for (data,) in _SECTORS.iter_unpack(source.view(start, step))])
                offset += step
                start += step
                length -= step

    def items(self, runs: Iterable[Run]) -> Iterator[tuple[int, bytes]]:
        """The bytenr and the data of the items that cover `runs`, when all contents were added."""
        self._end_sector()
        if byteorder == "big":
            self._sums.byteswap()
        sums = memoryview(self._sums).cast("B")
        at = 0
        for first, count in runs:
            end = at + count * CHECKSUM.size
            yield first << SECTOR_BITS, bytes(sums[at:end])
            at = end
        assert at == len(sums)

    def _end_sector(self) -> None:
        if self._sector >= 0:
            self._sums.append(crc32c(bytes(self._partial)))
            self._partial = bytearray(SECTOR)
            self._sector = -1
