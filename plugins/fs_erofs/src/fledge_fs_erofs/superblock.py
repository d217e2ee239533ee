"""The superblock: how everything else is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import google_crc32c

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.corrupt import Corrupt


@dataclass(frozen=True, slots=True)
class Superblock:
    """Addresses are those of blocks. `time`: ns since 1970."""

    incompatible: int
    root: int
    inodes: int
    time: int
    blocks: int
    metadata: int
    shared_xattrs: int
    uuid: bytes
    compression: bytes = b""
    """The configuration of lz4; empty where nothing is compressed."""

    def encode(self) -> bytes:
        """The first block of the image."""
        seconds, nanoseconds = divmod(self.time, 1_000_000_000)
        record = fs.SUPERBLOCK.pack(
            fs.MAGIC,
            0,
            fs.COMPAT_CHECKSUM | fs.COMPAT_MTIME,
            fs.BLOCK_BITS,
            0,
            self.root,
            self.inodes,
            seconds,
            nanoseconds,
            self.blocks,
            self.metadata,
            self.shared_xattrs,
            self.uuid,
            b"",
            self.incompatible,
            1 << fs.ALGORITHM_LZ4 if self.compression else 0,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        return seal(record + self.compression)

    @classmethod
    def decode(cls, block: bytes) -> Self:
        """`block`: the first one of the image. Raises Corrupt for what is no erofs, or has what we don't know."""
        if len(block) < fs.BLOCK:
            raise Corrupt(f"it has only {len(block)} bytes, less than a superblock")
        record = block[fs.SUPERBLOCK_OFFSET :]
        (
            magic,
            checksum,
            compatible,
            block_bits,
            _,
            root,
            inodes,
            seconds,
            nanoseconds,
            blocks,
            metadata,
            shared_xattrs,
            uuid,
            _,
            incompatible,
            algorithms,
            devices,
            _,
            directory_bits,
            _,
            _,
            _,
        ) = fs.SUPERBLOCK.unpack_from(record)
        if magic != fs.MAGIC:
            raise Corrupt("it has no erofs superblock")
        if block_bits != fs.BLOCK_BITS or directory_bits:
            raise Corrupt(f"it has blocks of 2^{block_bits} bytes; only those of {fs.BLOCK} can be read")
        if compatible & fs.COMPAT_CHECKSUM and checksum != checksum_of(record):
            raise Corrupt("the superblock's checksum is wrong")
        if incompatible & ~fs.KNOWN_INCOMPAT or devices:
            raise Corrupt(f"it has features that are not supported ({incompatible & ~fs.KNOWN_INCOMPAT:#x})")
        if incompatible & fs.INCOMPAT_COMPRESSION_CONFIGS and algorithms != 1 << fs.ALGORITHM_LZ4:
            raise Corrupt(f"it is compressed with the algorithms {algorithms:#x}; only lz4 can be read")
        time = seconds * 1_000_000_000 + nanoseconds
        return cls(incompatible, root, inodes, time, blocks, metadata, shared_xattrs, uuid)


def is_compressed(head: bytes) -> bool:
    """Whether the image that begins with `head` has compressed files, as far as the superblock tells."""
    incompatible: int = fs.SUPERBLOCK.unpack_from(head, fs.SUPERBLOCK_OFFSET)[14]
    return bool(incompatible & (fs.INCOMPAT_LZ4_0PADDING | fs.INCOMPAT_COMPRESSION_CONFIGS))


def seal(record: bytes) -> bytes:
    """The first block of the image, with the superblock and its checksum."""
    covered = bytearray(record.ljust(fs.BLOCK - fs.SUPERBLOCK_OFFSET, b"\0"))
    covered[fs.SUPERBLOCK_CHECKSUM] = checksum_of(covered).to_bytes(4, "little")
    return bytes(fs.SUPERBLOCK_OFFSET) + bytes(covered)


def checksum_of(covered: bytes | bytearray) -> int:
    """The checksum of the rest of the block from the superblock on.

    It is a crc32c with zeros for itself, and without the inversion at the end that the usual libraries make.
    """
    without = bytearray(covered)
    without[fs.SUPERBLOCK_CHECKSUM] = bytes(4)
    return int(google_crc32c.value(bytes(without))) ^ 0xFFFFFFFF
