"""Writes a tree as a filesystem.

The trees stand behind the data, since their blocks hold the data's checksums and addresses; the superblock in front
needs to know only how many blocks they have. So everything but the checksums is written first, and then the image is
final in rising order: superblock, contents, checksum tree.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from fledge.blocks import Run
from fledge.identity import derived_uuid
from fledge.output import ArtifactFile, Copy
from fledge.progress import Progress

from fledge_fs_btrfs import small_trees, superblock
from fledge_fs_btrfs.csums import DataChecksums, checksummed
from fledge_fs_btrfs.format import (
    CHECKSUM,
    CHUNK_TREE,
    CSUM_TREE,
    DATA_RELOC_TREE,
    DEV_TREE,
    EXTENT_CSUM,
    EXTENT_CSUM_ITEM,
    EXTENT_TREE,
    FREE_SPACE_TREE,
    FS_TREE,
    NODE,
    ROOT_TREE,
    SECTOR_BITS,
    UUID_TREE,
)
from fledge_fs_btrfs.fs_tree import DataExtent, FsTree
from fledge_fs_btrfs.small_trees import Item
from fledge_fs_btrfs.space import (
    DATA_START,
    SMALLEST,
    SYSTEM_START,
    BlockGroup,
    DataSpace,
    data_end,
    metadata_group,
    system_group,
)
from fledge_fs_btrfs.survey import Survey
from fledge_fs_btrfs.tree_writer import Blocks, Identity, TreeWriter, levels_for


class Writer:
    """One filesystem. `write` may be called once."""

    def __init__(self, target: ArtifactFile, found: Survey, free: int, progress: Progress) -> None:
        """`free`: bytes that are left for files. Raises BuildError when that is more than there can be."""
        self._target = target
        self._found = found
        self._free = free
        self._progress = progress
        self._identity = _identity(found.digest)
        self._metadata_start = data_end(found.sectors << SECTOR_BITS, free, found.metadata)
        self._space = DataSpace(self._metadata_start)

    def write(self, *, preallocate: bool = False) -> int:
        """Writes everything; the target is to be finished at the size that is returned."""
        target = self._target
        tree = TreeWriter(target, self._identity, FS_TREE, self._metadata_start)
        files = FsTree(self._found, self._space, tree)
        files.write()
        runs = checksummed(files.extents)
        trees, groups = self._lay_out(tree.finish(), runs, files.extents)
        size = max(groups[-1].end, SMALLEST)
        if preallocate:
            target.allocate(size)
        self._write_trees(size, groups, trees, files.extents)
        target.settled(DATA_START)
        checksums = self._copy_contents(files.copies)
        target.settled(self._metadata_start)
        items = ((EXTENT_CSUM, EXTENT_CSUM_ITEM, start, data) for start, data in checksums.items(runs))
        self._write_tree(trees[CSUM_TREE], items)
        return size

    def _lay_out(
        self, files: Blocks, runs: Sequence[Run], extents: Sequence[DataExtent]
    ) -> tuple[dict[int, Blocks], list[BlockGroup]]:
        """Where all trees go, and all groups. `runs`: the sectors of each item of the checksum tree."""
        identity, data = self._identity, self._space.groups()
        # How long the items are does not depend on what the groups hold.
        groups = [system_group(0), *data, metadata_group(self._metadata_start, 0, self._free)]
        chunks = Blocks(CHUNK_TREE, SYSTEM_START, _levels(small_trees.chunk_tree(identity, 0, groups)))
        trees = {CHUNK_TREE: chunks, FS_TREE: files}
        at = files.end
        for owner, levels in (
            (CSUM_TREE, levels_for((count * CHECKSUM.size, 1) for _, count in runs)),
            (UUID_TREE, (1,)),
            (DATA_RELOC_TREE, (1,)),
            (ROOT_TREE, (1,)),
            (DEV_TREE, _levels(small_trees.dev_tree(identity, groups))),
            (FREE_SPACE_TREE, _levels(small_trees.free_space_tree(groups))),
        ):
            trees[owner] = Blocks(owner, at, levels)
            at = trees[owner].end
        starts = [start for start, _, _, _ in extents]
        counts = [bisect_left(starts, group.end) - bisect_left(starts, group.start) for group in data]
        others = (at - self._metadata_start) // NODE
        own = 0
        while True:  # The extent tree's items are about its own blocks, too.
            sizes = small_trees.extent_tree_sizes(groups, [chunks.count, *counts, others + own])
            blocks = Blocks(EXTENT_TREE, at, levels_for(sizes))
            if blocks.count == own:
                break
            own = blocks.count
        trees[EXTENT_TREE] = blocks
        groups[0] = system_group(chunks.count * NODE)
        groups[-1] = metadata_group(self._metadata_start, blocks.end - self._metadata_start, self._free)
        return trees, groups

    def _write_trees(
        self, size: int, groups: Sequence[BlockGroup], trees: Mapping[int, Blocks], extents: Sequence[DataExtent]
    ) -> None:
        """All but those of the files and of the checksums; and the superblocks."""
        identity = self._identity
        for owner, items in (
            (CHUNK_TREE, small_trees.chunk_tree(identity, size, groups)),
            (UUID_TREE, small_trees.uuid_tree(identity)),
            (DATA_RELOC_TREE, small_trees.data_reloc_tree()),
            (ROOT_TREE, small_trees.root_tree(identity, trees)),
            (DEV_TREE, small_trees.dev_tree(identity, groups)),
            (FREE_SPACE_TREE, small_trees.free_space_tree(groups)),
            (EXTENT_TREE, small_trees.extent_tree(groups, trees.values(), extents)),
        ):
            self._write_tree(trees[owner], items)
        for offset, block in superblock.superblocks(identity, size, groups, trees):
            self._target.write(offset, block)

    def _write_tree(self, blocks: Blocks, items: Iterable[Item]) -> None:
        tree = TreeWriter(self._target, self._identity, blocks.owner, blocks.start)
        for objectid, kind, offset, data in items:
            tree.add(objectid, kind, offset, data)
        written = tree.finish()
        assert written == blocks, (written, blocks)

    def _copy_contents(self, copies: Sequence[Copy]) -> DataChecksums:
        checksums = DataChecksums()
        with self._progress.stage("writing btrfs", sum(run[3] for run in copies)) as stage:
            self._target.copy_settling(copies, stage.advance, before=checksums.add)
        return checksums


def _levels(items: Iterable[Item]) -> tuple[int, ...]:
    return levels_for((len(data), 1) for _, _, _, data in items)


def _identity(digest: bytes) -> Identity:
    def uuid(what: bytes) -> bytes:
        return derived_uuid(hashlib.sha256(digest + what).digest())

    return Identity(uuid(b"filesystem"), uuid(b"chunk tree"), uuid(b"device"), uuid(b"subvolume"))
