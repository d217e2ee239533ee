"""Inodes, packed with their checksums and written a group's table at a time."""

from __future__ import annotations

import hashlib
import struct

from fledge.output import ImageFile

from fledge_fs_ext4.checksum import INVERT, extend
from fledge_fs_ext4.format import (
    BLOCK_BITS,
    INODE_CHECKSUM_HI,
    INODE_CHECKSUM_LO,
    INODE_EXTRA,
    INODE_SIZE,
    INODE_XATTR_ROOM,
    TIME_MAX,
    TIME_MIN,
)
from fledge_fs_ext4.geometry import Geometry

_NUMBERED = struct.Struct("<I4x" + "HHIIII4xHHII4x60s" + "4xII4x" + "HHHH4x" + f"H2xIIIII8x{INODE_XATTR_ROOM}s")
"""Number and generation, which the checksum covers first, then INODE without the fields that are zero here.

These are i_dtime, i_version, i_generation (also before), i_obso_faddr, the checksum itself, i_reserved,
i_version_hi and i_projid.
"""
assert _NUMBERED.size == 8 + INODE_SIZE
_HALF = struct.Struct("<H")
_SECOND = 1_000_000_000


class InodeTable:
    """Takes the inodes by rising number."""

    def __init__(self, target: ImageFile, geometry: Geometry, seed: int) -> None:
        """`seed`: what the filesystem's checksums start from."""
        self._target = target
        self._geometry = geometry
        self._seed = seed
        self._group = -1
        self._table = bytearray()
        self._end = 0
        self._sha256 = hashlib.sha256()

    def put(
        self,
        ino: int,
        mode: int,
        uid: int,
        gid: int,
        mtime: int,
        size: int,
        links: int,
        sectors: int,
        flags: int,
        block_map: bytes,
        xattr_block: int = 0,
        xattr_body: bytes = b"",
    ) -> None:
        """`mode` with the file type; `mtime` in ns, all four times are set to it; `block_map`: i_block."""
        seconds, nanoseconds = divmod(mtime, _SECOND)
        if not TIME_MIN <= seconds <= TIME_MAX:
            seconds, nanoseconds = (TIME_MIN, 0) if seconds < TIME_MIN else (TIME_MAX, _SECOND - 1)
        low = seconds & 0xFFFFFFFF
        high = nanoseconds << 2 | (seconds + 0x80000000) >> 32
        record = _NUMBERED.pack(
            ino,
            mode,
            uid & 0xFFFF,
            size & 0xFFFFFFFF,
            low,
            low,
            low,
            gid & 0xFFFF,
            links,
            sectors & 0xFFFFFFFF,
            flags,
            block_map,
            xattr_block & 0xFFFFFFFF,
            size >> 32,
            sectors >> 32,
            xattr_block >> 32,
            uid >> 16,
            gid >> 16,
            INODE_EXTRA,
            high,
            high,
            high,
            low,
            high,
            xattr_body,
        )
        checksum = extend(self._seed, record) ^ INVERT
        group, index = divmod(ino - 1, self._geometry.inodes_per_group)
        if group != self._group:
            self.flush()
            self._group = group
            self._table = bytearray(self._geometry.inodes_per_group * INODE_SIZE)
        at = index * INODE_SIZE
        table = self._table
        table[at : at + INODE_SIZE] = record[8:]
        _HALF.pack_into(table, at + INODE_CHECKSUM_LO, checksum & 0xFFFF)
        _HALF.pack_into(table, at + INODE_CHECKSUM_HI, checksum >> 16)
        self._end = at + INODE_SIZE

    def flush(self) -> None:
        """Writes the table that was begun; what is behind its last inode stays a hole."""
        if self._end:
            used = memoryview(self._table)[: self._end]
            self._sha256.update(used)
            self._target.write(self._geometry.inode_tables[self._group] << BLOCK_BITS, used)
        self._end = 0

    def digest(self) -> bytes:
        """sha256 over all inodes."""
        return self._sha256.digest()
