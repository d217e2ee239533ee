"""The ext4 driver: how large an image is, and what its options mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem

from fledge_fs_ext4.format import MAGIC, MAGIC_OFFSET, TIME_MAX, TIME_MIN
from fledge_fs_ext4.options import Ext4Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        import fledge_fs_ext4.image  # noqa: F401

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact. Raises BuildError, with the path, for what ext4 can't hold."""
        from fledge.artifact import Artifact

        from fledge_fs_ext4.image import write_image

        options = self.options
        write_image(
            target,
            tree,
            options.free_space,
            self.context.progress,
            journal=options.journal,
            preallocate=options.preallocate,
            time=plan.epoch,
        )
        return Artifact(target, self.name, tree)

    def held_mtime(self, mtime: int) -> int:
        """Nanoseconds, from 1901 to 2446."""
        return min(max(mtime, TIME_MIN * 1_000_000_000), TIME_MAX * 1_000_000_000 + 999_999_999)

    def held_xattrs(self, xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """All, POSIX ACLs as Linux reads them: only entries that name somebody have an id."""
        from fledge_fs_ext4.xattrs import held

        return held(xattrs)

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
