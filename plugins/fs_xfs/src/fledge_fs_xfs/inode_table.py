"""Inodes, packed with their checksums and written many chunks at a time."""

from __future__ import annotations

import struct

from fledge.output import ArtifactFile

from fledge_fs_xfs.bmap import NO_EXTENTS, Fork
from fledge_fs_xfs.checksum import crc32c
from fledge_fs_xfs.format import (
    BLOCK_BITS,
    CHUNK_INODES,
    FLAG2_BIGTIME,
    INODE_CORE,
    INODE_CRC,
    INODE_MAGIC,
    INODE_SIZE,
    INODE_VERSION,
    LITERAL,
    NULL,
    TIME_MAX,
    TIME_MIN,
    TIME_OFFSET,
)
from fledge_fs_xfs.geometry import Geometry

_INODE = struct.Struct(f">2sHBBxxIII12xQQQQQ4xIHBB6xH4xI4xQ8xQ16xQQ16s{LITERAL}s")
"""INODE_CORE without the fields that are zero here, and the forks.

These are di_onlink, the project, di_extsize, the DMAPI's, di_gen, di_crc itself, di_lsn and di_cowextsize.
"""
assert _INODE.size == INODE_CORE.size + LITERAL
_CRC = struct.Struct("<I")
_BATCH = 32 * CHUNK_INODES


class InodeTable:
    """Takes the inodes in the order of `Geometry.inode_numbers`."""

    def __init__(self, target: ArtifactFile, geometry: Geometry, uuid: bytes) -> None:
        self._numbers = iter(geometry.inode_numbers())
        self._target = target
        self._uuid = uuid
        self._places = [
            ((group * geometry.group_blocks + start) << BLOCK_BITS, chunks * CHUNK_INODES)
            for group, (start, chunks) in enumerate(geometry.chunks)
            if chunks
        ]
        self._table = bytearray()

    def put(
        self,
        mode: int,
        uid: int,
        gid: int,
        mtime: int,
        size: int,
        links: int,
        data: Fork,
        attributes: Fork = NO_EXTENTS,
        data_fork: int = 0,
        flags: int = 0,
    ) -> None:
        """`mode` with the file type; `mtime` in ns, all four times are set to it.

        `data_fork`: bytes of the data fork, 0 when there are no attributes.
        """
        time = min(max(mtime, TIME_MIN), TIME_MAX) + TIME_OFFSET
        literal = data.root
        if data_fork:
            literal = literal.ljust(data_fork, b"\0") + attributes.root
        record = _INODE.pack(
            INODE_MAGIC,
            mode,
            INODE_VERSION,
            data.format,
            uid,
            gid,
            links,
            time,
            time,
            time,
            size,
            data.blocks + attributes.blocks,
            data.extents,
            attributes.extents,
            data_fork >> 3,
            attributes.format,
            flags,
            NULL,
            1,
            FLAG2_BIGTIME,
            time,
            next(self._numbers),
            self._uuid,
            literal,
        )
        self._add(record)

    def finish(self) -> None:
        """Fills the last chunk with free inodes, and writes what is left."""
        for ino in self._numbers:
            self._add(_INODE.pack(INODE_MAGIC, 0, INODE_VERSION, *[0] * 14, NULL, 0, 0, 0, ino, self._uuid, b""))
        self._flush()

    def _add(self, record: bytes) -> None:
        table = self._table
        at = len(table)
        table += record
        _CRC.pack_into(table, at + INODE_CRC, crc32c(record))
        if at == (_BATCH - 1) * INODE_SIZE:
            self._flush()

    def _flush(self) -> None:
        left = memoryview(self._table)
        while left:
            offset, room = self._places[0]
            part = left[: room * INODE_SIZE]
            self._target.write(offset, part)
            count = len(part) // INODE_SIZE
            self._places[0] = offset + len(part), room - count
            if room == count:
                del self._places[0]
            left = left[len(part) :]
        self._table = bytearray()
