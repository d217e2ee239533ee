"""A whole filesystem of a tree: measured, laid out and written."""

from __future__ import annotations

from collections.abc import Callable

from fledge.output import ImageFile
from fledge.progress import Progress
from fledge.tree.tree import Tree

from fledge_fs_ext4.format import BLOCK
from fledge_fs_ext4.geometry import plan
from fledge_fs_ext4.survey import survey
from fledge_fs_ext4.writer import Writer


def write_image(
    target: ImageFile,
    tree: Tree,
    free: Callable[[int], int],
    progress: Progress,
    *,
    journal: bool = True,
    preallocate: bool = False,
    time: int | None = None,
) -> None:
    """Writes the filesystem and finishes `target`.

    `free`: how many bytes are left for files, of the number that the tree takes. `preallocate`: the disk's blocks are
    reserved. `time`: of the filesystem itself, in seconds; the tree's epoch when it is None. Raises BuildError, with the
    path, for what ext4 can't hold.
    """
    found = survey(tree)
    content = found.metadata_blocks + found.data_blocks
    room = free(content * BLOCK)
    inodes = found.inode_count + free_inodes(room)
    geometry = plan(content, inodes, -(-room // BLOCK) + extent_blocks(room), journal=journal)
    if preallocate:
        target.allocate(geometry.blocks * BLOCK)
    Writer(target, found, geometry, time if time is not None else tree.epoch // 1_000_000_000, progress).write()
    target.finish(geometry.blocks * BLOCK)


def extent_blocks(free: int) -> int:
    """Blocks for the extents of files that fill `free` bytes.

    The kernel allocates late, in pieces that depend on its writeback, and sets metadata aside for the worst of them.
    """
    return 16 + free // BLOCK // 1024


def free_inodes(free: int) -> int:
    """How many files can be added to `free` bytes.

    One for every 16 KiB, as mke2fs counts. Small images hold small files: there it is one for every 2 KiB, up
    to 24,576, which leaves 8,192 for the content of an image of one group.
    """
    return max(free // 16_384, min(free // 2_048, 24_576))
