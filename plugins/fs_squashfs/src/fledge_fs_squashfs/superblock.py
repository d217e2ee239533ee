"""The superblock: the first 96 bytes, which say how everything else is read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

from fledge.errors import BuildError

from fledge_fs_squashfs import format as fs

# fs/squashfs/Kconfig of Linux, by the superblock's compressor.
_KERNEL_SYMBOLS: Final = {
    1: ("SQUASHFS_ZLIB", "zlib"),
    3: ("SQUASHFS_LZO", "lzo"),
    4: ("SQUASHFS_XZ", "xz"),
    5: ("SQUASHFS_LZ4", "lz4"),
    6: ("SQUASHFS_ZSTD", "zstd"),
}


@dataclass(frozen=True, slots=True)
class Superblock:
    """Its fields, in their order on disk, without magic, version and the logarithm of the block size.

    `time`: seconds since 1970. `root`: the reference of the root's inode. `used`: bytes without the padding.
    """

    inodes: int
    time: int
    block_size: int
    fragments: int
    compressor: int
    flags: int
    ids: int
    root: int
    used: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int
    export_table: int

    def encode(self) -> bytes:
        """The bytes at the start of the image."""
        values = [getattr(self, field.name) for field in fields(self)]
        log = self.block_size.bit_length() - 1
        return fs.SUPERBLOCK.pack(fs.MAGIC, *values[:5], log, *values[5:7], *fs.VERSION, *values[7:])

    @classmethod
    def decode(cls, head: bytes, size: int) -> Self:
        """`size`: of the file. Raises BuildError for what is no squashfs 4.0 or reaches past the end of the file."""
        if len(head) < fs.SUPERBLOCK.size:
            raise BuildError(f"it has only {len(head)} bytes, less than a superblock")
        magic, *values = fs.SUPERBLOCK.unpack_from(head)
        log, version = values[5], (values[8], values[9])
        found = cls(*values[:5], *values[6:8], *values[10:])
        if magic != fs.MAGIC:
            raise BuildError("it does not begin with a squashfs superblock")
        if version != fs.VERSION:
            raise BuildError(f"it is squashfs {version[0]}.{version[1]}; only 4.0 can be read")
        if not fs.BLOCK_SIZE_MIN <= found.block_size <= fs.BLOCK_SIZE_MAX or found.block_size != 1 << log:
            raise BuildError(f"its block size {found.block_size} (2^{log}) is not a power of two from 4096 to 1048576")
        if found.used > size:
            raise BuildError(f"it is cut short: {size} of {found.used} bytes are there")
        tables = [found.inode_table, found.directory_table, found.id_table]
        if found.fragments:
            tables.append(found.fragment_table)
        if found.xattr_table != fs.INVALID_TABLE:
            tables.append(found.xattr_table)
        if not all(fs.SUPERBLOCK.size <= table < found.used for table in tables):
            raise BuildError("a table of it starts outside of the image")
        return found


def kernel_symbols(head: bytes) -> list[tuple[str, str]]:
    """What of squashfs a kernel must have for the image that begins with `head`: Kconfig's symbols, and their names."""
    found = Superblock.decode(head, 2**63)
    needed = [_KERNEL_SYMBOLS[found.compressor]] if found.compressor in _KERNEL_SYMBOLS else []
    # Without it capabilities are not there, and nothing tells.
    return needed if found.xattr_table == fs.INVALID_TABLE else [*needed, ("SQUASHFS_XATTR", "xattrs")]
