"""A tree into an image: superblock, contents, metadata."""

from __future__ import annotations

from fledge.errors import BuildError
from fledge.identity import derived_uuid
from fledge.output import ArtifactFile
from fledge.progress import Progress
from fledge.tree.inode import File
from fledge.tree.tree import Tree

from fledge_fs_erofs.contents import FIRST_BLOCK, Contents, FileData
from fledge_fs_erofs.format import BLOCK_BITS, INODE, MAX_BLOCKS
from fledge_fs_erofs.inventory import Inventory
from fledge_fs_erofs.metadata import Metadata
from fledge_fs_erofs.superblock import Superblock
from fledge_fs_erofs.xattrs import XattrTable


def write_image(tree: Tree, target: ArtifactFile, contents: Contents, time: int, progress: Progress) -> int:
    """Writes the image and returns its size. `time`: ns since 1970, for the filesystem itself.

    Raises BuildError, with the path, for what erofs can't hold.
    """
    inventory = Inventory(tree)
    xattrs = XattrTable(inventory)
    inodes: list[File] = []
    files: list[FileData] = []
    for number, inode in enumerate(inventory.inodes):
        if isinstance(inode, File):
            head = INODE.size + len(xattrs.encoded.get(number, b""))
            inodes.append(inode)
            files.append(FileData(inode.content, head, inode.content.is_sparse))
    with progress.stage("writing erofs", sum(file.content.size for file in files)) as stage:
        stored = []
        for inode, place in zip(inodes, contents.store(files, stage), strict=True):
            if contents.end > MAX_BLOCKS:
                raise BuildError(
                    f"{tree.path_of(inode)} would end at block {contents.end}; erofs has {MAX_BLOCKS} blocks of 4 KiB"
                )
            stored.append(place)
        metadata = Metadata(inventory, xattrs, stored, contents.end)
        if metadata.end > MAX_BLOCKS:
            raise BuildError(f"the image would have {metadata.end} blocks of 4 KiB; erofs holds {MAX_BLOCKS}")
        digest = metadata.write(target)
        superblock = Superblock(
            incompatible=contents.incompatible,
            root=metadata.root,
            inodes=len(inventory.inodes),
            time=time,
            blocks=metadata.end,
            metadata=metadata.inodes,
            shared_xattrs=metadata.shared_xattrs,
            uuid=derived_uuid(digest),
            compression=contents.compression,
        )
        target.write(0, superblock.encode())
        target.settled(FIRST_BLOCK << BLOCK_BITS)
        contents.finish(stage)
    return metadata.end << BLOCK_BITS
