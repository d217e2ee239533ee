"""An empty journal (jbd2): a superblock, and blocks that are read only when it says so."""

from __future__ import annotations

from fledge_fs_ext4.checksum import extend, on_disk
from fledge_fs_ext4.format import (
    BLOCK,
    JOURNAL_64BIT,
    JOURNAL_CHECKSUM,
    JOURNAL_CRC32C,
    JOURNAL_CSUM_V3,
    JOURNAL_MAGIC,
    JOURNAL_SUPERBLOCK,
    JOURNAL_SUPERBLOCK_V2,
)


def superblock(blocks: int, uuid: bytes) -> bytes:
    """The first block of a journal of so many blocks."""
    record = JOURNAL_SUPERBLOCK.pack(
        h_magic=JOURNAL_MAGIC,
        h_blocktype=JOURNAL_SUPERBLOCK_V2,
        s_blocksize=BLOCK,
        s_maxlen=blocks,
        s_first=1,
        s_sequence=1,
        s_feature_incompat=JOURNAL_64BIT | JOURNAL_CSUM_V3,
        s_uuid=uuid,
        s_nr_users=1,
        s_checksum_type=JOURNAL_CRC32C,
    )
    checksum = on_disk(extend(0, record))
    return record[:JOURNAL_CHECKSUM] + checksum.to_bytes(4, "big") + record[JOURNAL_CHECKSUM + 4 :]
