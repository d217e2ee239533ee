"""The superblock: how everything else is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import google_crc32c
from fledge.reading import Corrupt

from fledge_fs_erofs import format as fs

_SECOND: Final = 1_000_000_000


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
        seconds, nanoseconds = divmod(max(self.time, 0), _SECOND)
        fields = dict.fromkeys(fs.SUPERBLOCK_FIELDS, 0) | {
            "magic": fs.MAGIC,
            "feature_compat": fs.COMPAT_CHECKSUM | fs.COMPAT_MTIME,
            "blkszbits": fs.BLOCK_BITS,
            "root_nid": self.root,
            "inos": self.inodes,
            "build_time": seconds,
            "build_time_nsec": nanoseconds,
            "blocks": self.blocks,
            "meta_blkaddr": self.metadata,
            "xattr_blkaddr": self.shared_xattrs,
            "uuid": self.uuid,
            "volume_name": b"",
            "feature_incompat": self.incompatible,
            "available_compr_algs": 1 << fs.ALGORITHM_LZ4 if self.compression else 0,
        }
        return seal(fs.SUPERBLOCK.pack(*fields.values()) + self.compression)

    @classmethod
    def decode(cls, block: bytes) -> Self:
        """`block`: the first one of the image. Raises Corrupt for what is no erofs, or has what we don't know."""
        if len(block) < fs.BLOCK:
            raise Corrupt(f"it has only {len(block)} bytes, less than a superblock")
        fields = _fields(block)
        incompatible = fields["feature_incompat"]
        unknown = incompatible & ~fs.KNOWN_INCOMPAT
        algorithms = fields["available_compr_algs"]
        if fields["magic"] != fs.MAGIC:
            raise Corrupt("it has no erofs superblock")
        if fields["blkszbits"] != fs.BLOCK_BITS or fields["dirblkbits"]:
            raise Corrupt(f"it has blocks of 2^{fields['blkszbits']} bytes; only those of {fs.BLOCK} can be read")
        if fields["feature_compat"] & fs.COMPAT_CHECKSUM and fields["checksum"] != _checksum(block):
            raise Corrupt("the superblock's checksum is wrong")
        if unknown or fields["extra_devices"]:
            raise Corrupt(f"it has features that are not supported ({unknown:#x})")
        if incompatible & fs.INCOMPAT_COMPRESSION_CONFIGS and algorithms != 1 << fs.ALGORITHM_LZ4:
            raise Corrupt(f"it is compressed with the algorithms {algorithms:#x}; only lz4 can be read")
        return cls(
            incompatible=incompatible,
            root=fields["root_nid"],
            inodes=fields["inos"],
            time=fields["build_time"] * _SECOND + fields["build_time_nsec"],
            blocks=fields["blocks"],
            metadata=fields["meta_blkaddr"],
            shared_xattrs=fields["xattr_blkaddr"],
            uuid=fields["uuid"],
        )


def is_compressed(head: bytes) -> bool:
    """Whether the image that begins with `head` has compressed files, as far as the superblock tells."""
    compressed = fs.INCOMPAT_LZ4_0PADDING | fs.INCOMPAT_COMPRESSION_CONFIGS
    return bool(_fields(head)["feature_incompat"] & compressed)


def seal(record: bytes) -> bytes:
    """The first block of the image, with the superblock and its checksum."""
    block = bytearray(fs.SUPERBLOCK_OFFSET) + record.ljust(fs.BLOCK - fs.SUPERBLOCK_OFFSET, b"\0")
    block[fs.SUPERBLOCK_CHECKSUM] = _checksum(block).to_bytes(4, "little")
    return bytes(block)


def _fields(block: bytes) -> dict[str, Any]:
    return dict(zip(fs.SUPERBLOCK_FIELDS, fs.SUPERBLOCK.unpack_from(block, fs.SUPERBLOCK_OFFSET), strict=True))


def _checksum(block: bytes | bytearray) -> int:
    """crc32c of the block from the superblock on, with zeros for itself.

    The kernel leaves out the inversion at the end that the usual libraries make.
    """
    covered = bytearray(block)
    covered[fs.SUPERBLOCK_CHECKSUM] = bytes(4)
    return int(google_crc32c.value(bytes(covered[fs.SUPERBLOCK_OFFSET : fs.BLOCK]))) ^ 0xFFFFFFFF
