"""A tree into an image: superblock, contents, metadata."""

from __future__ import annotations

from fledge.errors import BuildError
from fledge.output import ArtifactFile
from fledge.progress import Progress
from fledge.tree.inode import File
from fledge.tree.tree import Tree

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.contents import PlainContents
from fledge_fs_erofs.inventory import Inventory
from fledge_fs_erofs.metadata import Metadata
from fledge_fs_erofs.superblock import Superblock
from fledge_fs_erofs.xattrs import XattrTable

_FIRST = 1
"""The block behind the superblock's."""


def write_image(tree: Tree, target: ArtifactFile, time: int, progress: Progress) -> int:
    """Writes the image and returns its size. `time`: ns since 1970, for the filesystem itself.

    Raises BuildError, with the path, for what erofs can't hold.
    """
    inventory = Inventory(tree)
    xattrs = XattrTable(inventory)
    files = [
        (inode.content, fs.BLOCK - fs.INODE.size - len(xattrs.encoded.get(number, b"")))
        for number, inode in enumerate(inventory.inodes)
        if isinstance(inode, File)
    ]
    with progress.stage("writing erofs", sum(content.size for content, _ in files)) as stage:
        contents = PlainContents(target, _FIRST)
        stored = list(contents.store(files))
        metadata = Metadata(inventory, xattrs, stored, contents.end)
        if metadata.end > fs.MAX_BLOCKS:
            raise BuildError(f"the image takes {metadata.end} blocks of 4 KiB; erofs holds {fs.MAX_BLOCKS}")
        digest = metadata.write(target)
        superblock = Superblock(
            incompatible=fs.INCOMPAT_CHUNKED_FILE if any(each.layout == fs.CHUNK_BASED for each in stored) else 0,
            root=metadata.root,
            inodes=len(inventory.inodes),
            time=time,
            blocks=metadata.end,
            metadata=metadata.inodes,
            shared_xattrs=metadata.shared_xattrs,
            uuid=_uuid(digest),
        )
        target.write(0, superblock.encode())
        target.settled(_FIRST << fs.BLOCK_BITS)
        contents.copy(stage)
    return metadata.end << fs.BLOCK_BITS


def _uuid(digest: bytes) -> bytes:
    """A UUID of version 8 (RFC 9562: derived in a way of one's own)."""
    uuid = bytearray(digest[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid)
