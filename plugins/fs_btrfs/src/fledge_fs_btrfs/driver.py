"""The btrfs driver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem
from fledge.options import DiskOptions

from fledge_fs_btrfs.format import MAGIC, MAGIC_OFFSET, MTIME_MAX, MTIME_MIN, SECTOR_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree


class BtrfsOptions(DiskOptions):
    """How much room there is."""


class Btrfs(Filesystem):
    """Writes the tree as a btrfs filesystem on one device, to be mounted read-write."""

    options_model: ClassVar = BtrfsOptions
    options: BtrfsOptions

    def import_ahead(self) -> None:
        """See kinds.Filesystem.import_ahead."""
        import fledge_fs_btrfs.writer  # noqa: F401

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact. Raises BuildError, with the path, for what btrfs can't hold."""
        from fledge.artifact import Artifact

        from fledge_fs_btrfs.survey import survey
        from fledge_fs_btrfs.writer import Writer

        found = survey(tree)
        free = self.options.free_space(found.sectors << SECTOR_BITS)
        writer = Writer(target, found, free, self.context.progress)
        target.finish(writer.write(preallocate=self.options.preallocate))
        return Artifact(target, self.name, tree)

    def held_mtime(self, mtime: int) -> int:
        """Nanoseconds, and seconds of 64 bits."""
        return min(max(mtime, MTIME_MIN), MTIME_MAX)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether the superblock's magic is there."""
        return head[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] == MAGIC

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """The driver of btrfs."""
        from fledge.boot.features import KernelFeature

        return (KernelFeature("BTRFS_FS", "btrfs", "btrfs"),)

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        """See kinds.Filesystem.read_tree."""
        from fledge_fs_btrfs.reader import read_tree

        return read_tree(path)
