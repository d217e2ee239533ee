"""The log of a filesystem that was never mounted: one record, which says that it was unmounted."""

from __future__ import annotations

import struct

from fledge_fs_xfs.format import (
    LOG_FORMAT_LINUX_LE,
    LOG_OPERATION,
    LOG_RECORD,
    LOG_RECORD_MAGIC,
    LOG_UNMOUNT,
    LOG_VERSION,
    NULL,
    SECTOR,
)

_CYCLE = 1
_BUFFER = 32 << 10
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


def is_clean(log: memoryview) -> bool:
    """Whether a log says that its filesystem was unmounted, or was never used.

    The log is a ring whose sectors begin with the number of the round in which they were written; the newest sector
    is the last one before that number falls (xlog_find_head and xlog_check_unmount_rec in fs/xfs/xfs_log_recover.c).
    """
    sectors = len(log) // SECTOR
    firsts = _words(log, 0)
    seconds = _words(log, 4)
    cycles = [b if a == LOG_RECORD_MAGIC else a for a, b in zip(firsts, seconds, strict=True)]
    if not cycles[0]:
        return True
    head = next((at for at, cycle in enumerate(cycles) if cycle != cycles[0]), 0)
    for back in range(1, sectors + 1):
        start = (head - back) % sectors
        if firsts[start] == LOG_RECORD_MAGIC:
            break
    else:
        return False
    length, operations, size = _record(bytes(log[start * SECTOR :][:SECTOR]))
    first = (start + max(-(-size // _BUFFER), 1)) % sectors
    _, _, _, flags, _ = LOG_OPERATION.unpack_from(log, first * SECTOR)
    return operations == 1 and (first + -(-length // SECTOR)) % sectors == head and bool(flags & LOG_UNMOUNT)


def _words(log: memoryview, at: int) -> tuple[int, ...]:
    """The word at `at` of each sector."""
    words = log[: len(log) // SECTOR * SECTOR].cast("I")[at // 4 :: SECTOR // 4].tobytes()
    return struct.unpack(f">{len(words) // 4}I", words)


def _record(header: bytes) -> tuple[int, int, int]:
    """h_len, h_num_logops and h_size."""
    fields = LOG_RECORD.unpack_from(header)
    return fields[3], fields[8], fields[13]
