"""The filesystem `squashfs`: what of a build goes into the image, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem

from fledge_fs_squashfs.format import MAGIC, MAX_TIME
from fledge_fs_squashfs.options import SquashfsOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree


class Squashfs(Filesystem):
    """Read-only, compressed, small; the guest puts a tmpfs over it."""

    options_model: ClassVar = SquashfsOptions
    options: SquashfsOptions
    writable: ClassVar[bool] = False

    def import_ahead(self) -> None:
        """See kinds.Filesystem.import_ahead."""
        import fledge_fs_squashfs.blockstore
        import fledge_fs_squashfs.writer  # noqa: F401

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact. Compressed blocks come from the store where a build before made them."""
        from fledge.artifact import Artifact

        from fledge_fs_squashfs.blockstore import BlockStore
        from fledge_fs_squashfs.compress import codec
        from fledge_fs_squashfs.inodes import seconds
        from fledge_fs_squashfs.writer import Parameters, write_image

        options = self.options
        compressor = codec(options.compression, options.level, options.block_size)
        time = seconds(tree.epoch) if plan.epoch is None else min(max(plan.epoch, 0), MAX_TIME)
        parameters = Parameters(compressor, options.block_size, time, self.context.jobs)
        with BlockStore(self.context.store, compressor.identity, self.context.progress) as kept:
            size = write_image(tree.root, target, parameters, kept, self.context.progress)
            kept.commit()
        target.finish(size)
        return Artifact(target, self.name, tree)

    def held_mtime(self, mtime: int) -> int:
        """Whole seconds, from 1970 to 2106."""
        from fledge_fs_squashfs.inodes import seconds

        return seconds(mtime) * 1_000_000_000

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether the file begins with the magic of a little-endian squashfs."""
        return head.startswith(MAGIC)

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """squashfs, with the image's compressor."""
        from fledge.boot.features import KernelFeature

        from fledge_fs_squashfs.superblock import kernel_symbols

        squashfs = KernelFeature("SQUASHFS", "squashfs", "squashfs")
        return squashfs, *(KernelFeature(symbol, f"{what} in squashfs") for symbol, what in kernel_symbols(head))

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        """See kinds.Filesystem.read_tree."""
        from fledge_fs_squashfs.reader import read_tree

        return read_tree(path)
