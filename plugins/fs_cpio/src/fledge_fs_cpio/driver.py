"""The filesystem `cpio`: what of a build goes into the archive, and what it can't hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem
from fledge.tree.inode import NO_XATTRS
from fledge.values import show_path

from fledge_fs_cpio.options import CpioOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fledge.artifact import Artifact
    from fledge.boot.features import KernelFeature
    from fledge.options import Options
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan
    from fledge.tree.inode import Inode
    from fledge.tree.tree import Tree


class Cpio(Filesystem):
    """A newc archive, which the kernel unpacks into memory before it starts /init."""

    options_model: ClassVar = CpioOptions
    options: CpioOptions
    suffix: ClassVar[str] = ".cpio.gz"
    medium: ClassVar[Literal["disk", "initramfs"]] = "initramfs"
    links_symlinks: ClassVar[bool] = False  # The kernel makes one for each entry (init/initramfs.c, do_symlink).

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        """See hookspecs.pack_artifact."""
        from concurrent.futures import ThreadPoolExecutor

        from fledge.artifact import Artifact

        from fledge_fs_cpio.compress import sink
        from fledge_fs_cpio.writer import take_inventory, write_archive

        inventory = take_inventory(tree)
        if inventory.with_xattrs:
            self._leave_out(inventory.with_xattrs)
        options = self.options
        jobs = self.context.jobs
        with (
            self.context.progress.stage("writing cpio", inventory.content_size) as stage,
            ThreadPoolExecutor(jobs, "fledge-cpio") as pool,
        ):
            out = sink(target, options.compression, options.level, inventory.size, pool, jobs)
            write_archive(inventory, out, stage)
            size = out.close()
        target.finish(size)
        return Artifact(target, self.name, tree)

    def held_mtime(self, mtime: int) -> int:
        """Whole seconds, from 1970 to 2106."""
        from fledge_fs_cpio.writer import seconds

        return seconds(mtime) * 1_000_000_000

    def held_xattrs(self, xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """None, with `xattrs = "drop"`."""
        return NO_XATTRS if self.options.xattrs == "drop" else xattrs

    def _leave_out(self, with_xattrs: Sequence[tuple[bytes, Inode]]) -> None:
        path, inode = with_xattrs[0]
        name = min(inode.xattrs).decode("utf-8", "backslashreplace")
        what = f"{show_path(path)} has the extended attribute {name}"
        if len(with_xattrs) > 1:
            what += f", and {len(with_xattrs) - 1} more have some"
        if self.options.xattrs == "error":
            raise BuildError(
                f"{what}; cpio (newc) can't hold them",
                hint='[filesystem] xattrs = "drop" leaves extended attributes out',
            )
        self.context.progress.warning(f"extended attributes are left out: {what}; cpio (newc) can't hold them")

    @classmethod
    def artifact_suffix(cls, options: Options) -> str:
        """`.cpio.gz`, `.cpio.zst` or `.cpio`."""
        assert isinstance(options, CpioOptions)
        return options.suffix

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether the file begins with a newc archive, compressed with gzip or zstd or not at all."""
        from fledge_fs_cpio.decompress import begins_with_archive

        return begins_with_archive(head)

    @classmethod
    def kernel_features(cls, head: bytes) -> Sequence[KernelFeature]:
        """The decompressor."""
        from fledge.boot.features import KernelFeature

        from fledge_fs_cpio.decompress import GZIP, ZSTD

        if head.startswith(GZIP):
            return (KernelFeature("RD_GZIP", "gzip for the initramfs"),)
        return (KernelFeature("RD_ZSTD", "zstd for the initramfs"),) if head.startswith(ZSTD) else ()

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        """See kinds.Filesystem.read_tree."""
        from fledge_fs_cpio.reader import read_tree

        return read_tree(path)
