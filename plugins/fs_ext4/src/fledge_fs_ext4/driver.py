"""The ext4 driver: how large an image is, and what its options mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem

from fledge_fs_ext4.format import BLOCK, MAGIC, MAGIC_OFFSET, TIME_MAX, TIME_MIN
from fledge_fs_ext4.options import Ext4Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree


class Ext4(Filesystem):
    """Writes the tree as an ext4 filesystem with 4 KiB blocks, to be mounted read-write."""

    options_model: ClassVar = Ext4Options
    options: Ext4Options

    def import_ahead(self) -> None:
        """See kinds.Filesystem.import_ahead."""
        import fledge_fs_ext4.writer  # noqa: F401

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact. Raises BuildError, with the path, for what ext4 can't hold."""
        from fledge.artifact import Artifact

        from fledge_fs_ext4.geometry import plan as plan_geometry
        from fledge_fs_ext4.survey import survey
        from fledge_fs_ext4.writer import Writer

        options = self.options
        found = survey(tree)
        content = found.metadata_blocks + found.data_blocks
        free = options.free_space(content * BLOCK)
        inodes = found.inode_count + free_inodes(free)
        geometry = plan_geometry(content, inodes, -(-free // BLOCK) + extent_blocks(free), journal=options.journal)
        if options.preallocate:
            target.allocate(geometry.blocks * BLOCK)
        time = plan.epoch if plan.epoch is not None else tree.epoch // 1_000_000_000
        Writer(target, found, geometry, time, self.context.progress).write()
        target.finish(geometry.blocks * BLOCK)
        return Artifact(target, self.name, tree)

    def held_mtime(self, mtime: int) -> int:
        """Nanoseconds, from 1901 to 2446."""
        return min(max(mtime, TIME_MIN * 1_000_000_000), TIME_MAX * 1_000_000_000 + 999_999_999)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether the superblock's magic is there."""
        return head[MAGIC_OFFSET : MAGIC_OFFSET + 2] == MAGIC.to_bytes(2, "little")

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """ext4."""
        from fledge.boot.features import KernelFeature

        return (KernelFeature("EXT4_FS", "ext4", "ext4"),)

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        """See kinds.Filesystem.read_tree."""
        from fledge_fs_ext4.reader import read_tree

        return read_tree(path)


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
