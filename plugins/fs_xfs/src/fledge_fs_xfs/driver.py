"""The xfs driver: how large an image is, and what its options mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem

from fledge_fs_xfs.options import XfsOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree


class Xfs(Filesystem):
    """Writes the tree as an XFS filesystem of version 5 with 4 KiB blocks, to be mounted read-write."""

    options_model: ClassVar = XfsOptions
    options: XfsOptions

    def import_ahead(self) -> None:
        """See kinds.Filesystem.import_ahead."""
        import fledge_fs_xfs.writer  # noqa: F401

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact. Raises BuildError, with the path, for what xfs can't hold."""
        from fledge.artifact import Artifact

        from fledge_fs_xfs.format import BLOCK
        from fledge_fs_xfs.geometry import plan as plan_geometry
        from fledge_fs_xfs.survey import survey
        from fledge_fs_xfs.writer import Writer

        options = self.options
        found = survey(tree)
        content = found.metadata_blocks + found.data_blocks
        free = -(-options.free_space(content * BLOCK) // BLOCK)
        geometry = plan_geometry(found.inode_count, content, free + extent_blocks(free))
        if options.preallocate:
            target.allocate(geometry.blocks * BLOCK)
        Writer(target, found, geometry, self.context.progress).write()
        target.finish(geometry.blocks * BLOCK)
        return Artifact(target, self.name, tree)

    def held_mtime(self, mtime: int) -> int:
        """Nanoseconds, from 1901 to 2486."""
        from fledge_fs_xfs.format import TIME_MAX, TIME_MIN

        return min(max(mtime, TIME_MIN), TIME_MAX)

    def held_xattrs(self, xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """All, POSIX ACLs as Linux reads them: only entries that name somebody have an id."""
        from fledge_fs_xfs.xattrs import held

        return held(xattrs)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether the superblock's magic is there."""
        return head.startswith(b"XFSB")

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """The filesystem itself."""
        from fledge.boot.features import KernelFeature

        return (KernelFeature("XFS_FS", "xfs", "xfs"),)

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        """See kinds.Filesystem.read_tree."""
        from fledge_fs_xfs.reader import read_tree

        return read_tree(path)


def extent_blocks(free: int) -> int:
    """Blocks for the extents of files that fill `free` blocks.

    The kernel allocates late, and sets metadata aside for the worst that may become of it.
    """
    return 16 + free // 1024
