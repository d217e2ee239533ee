"""The filesystem `erofs`: what of a build goes into the image, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem

from fledge_fs_erofs.format import BLOCK, MAGIC, MAX_MTIME, MIN_MTIME, SUPERBLOCK_OFFSET
from fledge_fs_erofs.options import ErofsOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree

    from fledge_fs_erofs.contents import Contents


class Erofs(Filesystem):
    """Read-only, quick to write and to mount; the guest puts a tmpfs over it."""

    options_model: ClassVar = ErofsOptions
    options: ErofsOptions
    writable: ClassVar[bool] = False

    def import_ahead(self) -> None:
        """See kinds.Filesystem.import_ahead."""
        import fledge_fs_erofs.lz4_contents
        import fledge_fs_erofs.writer  # noqa: F401

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact. Raises BuildError, with the path, for what erofs can't hold."""
        from fledge.artifact import Artifact

        from fledge_fs_erofs.writer import write_image

        time = tree.epoch if plan.epoch is None else plan.epoch * 1_000_000_000
        size = write_image(tree, target, self._contents(target), time, self.context.progress)
        target.finish(size)
        return Artifact(target, self.name, tree)

    def _contents(self, target: ArtifactFile) -> Contents:
        if self.options.compression == "none":
            from fledge_fs_erofs.contents import PlainContents

            return PlainContents(target)
        from fledge_fs_erofs.lz4_contents import Lz4Contents

        return Lz4Contents(target, self.options.compression_level, self.context.jobs)

    def held_mtime(self, mtime: int) -> int:
        """Nanoseconds, and seconds of 64 bits."""
        return min(max(mtime, MIN_MTIME), MAX_MTIME)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether it has a superblock's magic, and is as long as its block."""
        return len(head) >= BLOCK and head[SUPERBLOCK_OFFSET:].startswith(MAGIC)

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """The filesystem, with its decompressor where the image has something compressed."""
        from fledge.boot.features import KernelFeature

        from fledge_fs_erofs.superblock import is_compressed

        erofs = KernelFeature("EROFS_FS", "erofs", "erofs")
        return (erofs, KernelFeature("EROFS_FS_ZIP", "compression in erofs")) if is_compressed(head) else (erofs,)

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        """See kinds.Filesystem.read_tree."""
        from fledge_fs_erofs.reader import read_tree

        return read_tree(path)
