"""The log of a filesystem that was never mounted: one record, which says that it was unmounted."""

from __future__ import annotations

import struct

from fledge.tree.content import Source

from fledge_fs_xfs.format import (
    LOG_FORMAT_LINUX_LE,
    LOG_OPERATION,
    LOG_RECORD,
    LOG_RECORD_MAGIC,
    LOG_UNMOUNT,
    LOG_VERSION,
    NULL,
    SECTOR,
    SECTOR_BITS,
)

_CYCLE = 1
_BUFFER = 32 << 10
_WINDOW = 4 << 20 >> SECTOR_BITS
_TRANSACTION = 0xB0C0D0D0
_CLIENT_LOG = 0xAA
_UNMOUNT_MAGIC = (0x556E).to_bytes(2, "little")


def clean(uuid: bytes) -> bytes:
    """What the log begins with; the rest of it is zero. The record has no checksum, as mkfs.xfs gives it none."""
    lsn = _CYCLE << 32
    payload = _UNMOUNT_MAGIC.ljust(8, b"\0")
    # The cycle stands in the place of each sector's first word, which the header keeps.
    operation = LOG_OPERATION.pack(_TRANSACTION, len(payload), _CLIENT_LOG, LOG_UNMOUNT, 0) + payload
    header = LOG_RECORD.pack(
        LOG_RECORD_MAGIC,
        _CYCLE,
        LOG_VERSION,
        SECTOR,
        lsn,
        lsn,
        0,
        NULL,
        1,
        int.from_bytes(operation[:4], "big"),
        b"",
        LOG_FORMAT_LINUX_LE,
        uuid,
        _BUFFER,
    )
    return header.ljust(SECTOR, b"\0") + (_CYCLE.to_bytes(4, "big") + operation[4:]).ljust(SECTOR, b"\0")


def is_clean(source: Source, start: int, size: int) -> bool:
    """Whether the log in these bytes says that its filesystem was unmounted, or was never used.

    The log is a ring whose sectors begin with the number of the round in which they were written; the newest sector
    is the last one before that number falls (xlog_find_head and xlog_check_unmount_rec in fs/xfs/xfs_log_recover.c).
    """
    log = _Log(source, start)
    sectors = size // SECTOR
    (cycle,) = log.cycles(range(1))
    if not cycle:
        return True
    head = log.head(sectors, cycle)
    newest = log.newest_record(0, head)
    if newest is None:
        newest = log.newest_record(head, sectors)
    if newest is None:
        return False
    length, operations, size = _record(log.sector(newest))
    first = (newest + max(-(-size // _BUFFER), 1)) % sectors
    _, _, _, flags, _ = LOG_OPERATION.unpack_from(log.sector(first))
    return operations == 1 and (first + -(-length // SECTOR)) % sectors == head and bool(flags & LOG_UNMOUNT)


class _Log:
    """A log by its sectors, of which only a window is in memory at a time: there may be four million."""

    def __init__(self, source: Source, start: int) -> None:
        self._source = source
        self._start = start

    def head(self, sectors: int, cycle: int) -> int:
        """The first sector that is not of the first one's cycle; 0 when all are."""
        for window in _windows(0, sectors):
            for at, other in zip(window, self.cycles(window), strict=True):
                if other != cycle:
                    return at
        return 0

    def newest_record(self, first: int, end: int) -> int | None:
        """Where the last record among these sectors begins."""
        for window in reversed(_windows(first, end)):
            words = self._words(window, 0)
            if LOG_RECORD_MAGIC in words:
                return window.stop - 1 - words[::-1].index(LOG_RECORD_MAGIC)
        return None

    def cycles(self, window: range) -> list[int]:
        """The round in which each of these sectors was written: a record's header has its magic first."""
        words = zip(self._words(window, 0), self._words(window, 4), strict=True)
        return [second if first == LOG_RECORD_MAGIC else first for first, second in words]

    def sector(self, at: int) -> bytes:
        """One sector."""
        return bytes(self._source.view(self._start + at * SECTOR, SECTOR))

    def _words(self, window: range, at: int) -> tuple[int, ...]:
        """The word at `at` of each of these sectors."""
        start, size = self._start + window.start * SECTOR, len(window) * SECTOR
        words = self._source.view(start, size).cast("I")[at // 4 :: SECTOR // 4].tobytes()
        self._source.release(start, size)
        return struct.unpack(f">{len(window)}I", words)


def _windows(first: int, end: int) -> list[range]:
    return [range(at, min(at + _WINDOW, end)) for at in range(first, end, _WINDOW)]


def _record(header: bytes) -> tuple[int, int, int]:
    """h_len, h_num_logops and h_size."""
    fields = LOG_RECORD.unpack_from(header)
    return fields[3], fields[8], fields[13]
