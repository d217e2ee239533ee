"""Filesystem drivers with one mistake each, and the checks of the kit that must find it.

They are the driver of docs/plugins.md, `fledge_fs_tar`, with something changed. `caught_by` names the checks that fail;
every other one passes.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar

from fledge.artifact import Artifact
from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.options import Options
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan
from fledge.tree.content import Content, FileSource, Piece
from fledge.tree.inode import Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.tree import Tree
from fledge.values import show_path
from fledge_fs_tar import Tar, TarOptions

MOST_LINKS = 300


class Good(Tar):
    """No mistake. It has a limit, so that limits can be got wrong."""

    caught_by: ClassVar[frozenset[str]] = frozenset()
    most_links: ClassVar[int] = MOST_LINKS

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        self.check_links(tree)
        artifact = super().pack_artifact(plan, self.changed(tree), target)
        return self.described(Artifact(target, artifact.format, tree))

    def check_links(self, tree: Tree) -> None:
        links: dict[int, int] = {}
        for path, inode in tree.walk():
            links[id(inode)] = links.get(id(inode), 0) + 1
            if links[id(inode)] > self.most_links:
                raise BuildError(f"{show_path(path)} has more than {self.most_links} hard links")

    def changed(self, tree: Tree) -> Tree:
        return tree

    def described(self, artifact: Artifact) -> Artifact:
        return artifact

    def note(self, artifact: Artifact, text: object) -> Artifact:
        """Appends bytes that no reader looks at."""
        target = artifact.file
        target.write(target.size, hashlib.sha256(str(text).encode()).digest())
        target.finish(target.size + 32)
        return artifact


class Loses(Good):
    """Packs another tree than it was given. `loses` gives a name's inode, another one, or None."""

    loses: Callable[[Any, bytes, Inode], Inode | None]

    def changed(self, tree: Tree) -> Tree:
        made: dict[int, Inode | None] = {}

        def directory(inode: Directory) -> Directory:
            new = copy(inode)
            new.entries = {}
            for name, below in inode.entries.items():
                if isinstance(below, Directory):
                    new.entries[name] = directory(below)
                    continue
                if id(below) not in made:
                    made[id(below)] = self.loses(name, below)
                if (other := made[id(below)]) is not None:
                    new.entries[name] = other
            return new

        depth, deepest = 0, tree.root
        while len(deepest.entries) == 1 and isinstance(below := next(iter(deepest.entries.values())), Directory):
            depth, deepest = depth + 1, below
        return tree if depth > 900 else Tree(directory(tree.root), tree.epoch)


def with_(inode: Inode, **values: object) -> Inode:
    new = copy(inode)
    for name, value in values.items():
        setattr(new, name, value)
    return new


class LosesFifos(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[entry]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return None if isinstance(inode, Fifo) else inode


class MakesFifosFiles(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[kind]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return File(Content.of(b""), inode.mode) if isinstance(inode, Fifo) else inode


class LosesSetuid(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[mode]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return with_(inode, mode=inode.mode & 0o3777)


class CutsOwners(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[owner]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return with_(inode, uid=inode.uid & 0xFFFF, gid=inode.gid & 0xFFFF)


class DatesSymlinksAnew(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[mtime]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return with_(inode, mtime=5) if isinstance(inode, Symlink) else inode


class LosesCapabilities(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[xattr]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return with_(inode, xattrs={key: inode.xattrs[key] for key in inode.xattrs if key[:9] != b"security."})


class LosesTheLastByteOfABlock(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[content]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        if isinstance(inode, File) and inode.content.size and inode.content.size % 4096 == 0:
            return with_(inode, content=Content.of(inode.content.read()[:-1] + b"\0"))
        return inode


class CutsSymlinks(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[target]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return with_(inode, target=inode.target[:1024]) if isinstance(inode, Symlink) else inode


class CutsMinors(Loses):
    caught_by: ClassVar = {"test_every_inode_is_read_back[device]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return with_(inode, minor=inode.minor & 0xFF) if isinstance(inode, Device) else inode


class CopiesHardLinks(Good):
    caught_by: ClassVar = {"test_every_inode_is_read_back[hard link]"}

    def changed(self, tree: Tree) -> Tree:
        files = [(path, inode) for path, inode in tree.walk() if isinstance(inode, File) and inode.content.size == 8192]
        again = (
            {path.rpartition(b"/")[2] for path, inode in files}
            if len({id(inode) for _, inode in files}) == 1
            else set()
        )

        def directory(inode: Directory) -> Directory:
            new = copy(inode)
            new.entries = {
                name: directory(below) if isinstance(below, Directory) else copy(below) if name in again else below
                for name, below in inode.entries.items()
            }
            return new

        return Tree(directory(tree.root), tree.epoch) if again else tree


class LosesFifosInOneVariant(LosesFifos):
    options: TarOptions
    caught_by: ClassVar = {"test_every_variant_is_read_back[1]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return super().loses(name, inode) if self.options.blocking_factor == 1 else inode


class TakesEverySourceFromItsStart(Loses):
    caught_by: ClassVar = {"test_what_was_read_can_be_packed_again"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        if isinstance(inode, File):
            wrong = [
                Piece(one.offset, one.source, 0 if isinstance(one.source, FileSource) else one.start, one.length)
                for one in inode.content.pieces
            ]
            return with_(inode, content=Content(inode.content.size, wrong))
        return inode


class IsTakenForAnother(Good):
    """All of the others here are tars as well."""

    caught_by: ClassVar = {"test_no_other_driver_recognizes_it"}


class NamesItselfOtherwise(Good):
    caught_by: ClassVar = {"test_the_artifact_is_described"}

    def described(self, artifact: Artifact) -> Artifact:
        return Artifact(artifact.file, "TAR", artifact.tree)


class WritesAfterTheEnd(Good):
    caught_by: ClassVar = {"test_the_artifact_is_described"}

    def described(self, artifact: Artifact) -> Artifact:
        artifact.file.write(artifact.size, bytes(512))
        return artifact


class KnowsSmallFilesOnly(Good):
    caught_by: ClassVar = {"test_it_recognizes_its_own"}

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return super().recognizes(head) and len(head) <= 512


class TakesGzipForItsOwn(Good):
    caught_by: ClassVar = {"test_it_recognizes_nothing_else[gzip]"}

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return super().recognizes(head) or head.startswith(b"\x1f\x8b")


class WantsAnEntry(Good):
    caught_by: ClassVar = {"test_an_empty_tree"}

    def changed(self, tree: Tree) -> Tree:
        max(tree.root.entries)
        return tree


class CountsSecondsInSixtyFourBits(Good):
    caught_by: ClassVar = {"test_times_of_any_age_are_no_error"}

    def changed(self, tree: Tree) -> Tree:
        for _, inode in tree.walk():
            (inode.mtime // 10**9).to_bytes(8, "little", signed=True)
        return tree


class Recurses(Good):
    caught_by: ClassVar = {"test_a_deep_tree_is_packed_or_refused"}

    def changed(self, tree: Tree) -> Tree:
        def count(folder: Directory) -> int:
            return 1 + sum(count(below) for below in folder.entries.values() if isinstance(below, Directory))

        count(tree.root)
        return tree


class HoldsFewEntries(Good):
    caught_by: ClassVar = {"test_a_folder_of_many_entries"}

    def changed(self, tree: Tree) -> Tree:
        if len(tree.root.entries) > 900:
            root = copy(tree.root)
            root.entries = dict(list(tree.root.entries.items())[:900])
            return Tree(root)
        return tree


class LeavesSocketsOut(Loses):
    caught_by: ClassVar = {"test_what_it_lacks_is_an_error[sockets]"}

    def loses(self, name: bytes, inode: Inode) -> Inode | None:
        return None if isinstance(inode, Socket) else inode


class TellsNoPath(Good):
    caught_by: ClassVar = {"test_what_it_lacks_is_an_error[sockets]"}

    def changed(self, tree: Tree) -> Tree:
        if any(isinstance(inode, Socket) for _, inode in tree.walk()):
            raise BuildError("tar can't hold sockets")
        return tree


class TellsTheFolderOnly(Good):
    caught_by: ClassVar = {"test_what_it_lacks_is_an_error[sockets]"}

    def changed(self, tree: Tree) -> Tree:
        for path, inode in tree.walk():
            if isinstance(inode, Socket):
                raise BuildError(f"{show_path(path).rpartition('/')[0]} has a socket in it; tar can't hold that")
        return tree


class HoldsLessThanItSays(Good):
    caught_by: ClassVar = {"test_the_most_fits[hard links]"}
    most_links = MOST_LINKS - 1


class TakesMoreThanItSays(Good):
    caught_by: ClassVar = {"test_more_than_the_most_is_an_error[hard links]"}
    most_links = MOST_LINKS + 1


class DependsOnJobs(Good):
    caught_by: ClassVar = {"test_the_same_bytes_with_other_jobs"}

    def described(self, artifact: Artifact) -> Artifact:
        return self.note(artifact, self.context.jobs)


class DependsOnTheOrder(Good):
    caught_by: ClassVar = {"test_the_same_bytes_with_entries_in_another_order"}

    def described(self, artifact: Artifact) -> Artifact:
        return self.note(artifact, list(artifact.tree.root.entries))


class LooksAtTheClock(Good):
    caught_by: ClassVar = {"test_the_same_bytes_at_another_time"}

    def described(self, artifact: Artifact) -> Artifact:
        return self.note(artifact, int(time.time()) >> 25)  # A year.


class DependsOnItsCache(Good):
    caught_by: ClassVar = {"test_the_same_bytes_from_a_warm_cache"}

    def described(self, artifact: Artifact) -> Artifact:
        mark = self.context.store.folder / "mark"
        warm = mark.exists()
        mark.touch()
        return self.note(artifact, warm)


class DependsOnTheHashSeed(Good):
    caught_by: ClassVar = {"test_the_same_bytes_in_another_environment"}

    def described(self, artifact: Artifact) -> Artifact:
        return self.note(artifact, hash("seed"))


class DependsOnTheTimeZone(Good):
    caught_by: ClassVar = {"test_the_same_bytes_in_another_environment"}

    def described(self, artifact: Artifact) -> Artifact:
        return self.note(artifact, time.timezone)


class RewordsTheErrorsOfSources(Good):
    caught_by: ClassVar = {"test_a_source_that_fails_ends_the_packing"}

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        try:
            return super().pack_artifact(plan, tree, target)
        except BuildError as error:
            raise BuildError(f"packing failed: {error.message}") from error


class LeavesSomethingBehind(Good):
    caught_by: ClassVar = {"test_a_source_that_fails_ends_the_packing"}

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        half = self.context.store.folder / "tmp" / "half"
        half.touch()
        artifact = super().pack_artifact(plan, tree, target)
        half.unlink()
        return artifact


class LetsErrorsOfTheSystemThrough(Good):
    caught_by: ClassVar = {"test_a_full_disk_is_an_error"}

    def changed(self, tree: Tree) -> Tree:
        with open(self.context.store.folder / "scratch", "wb") as file:
            os.truncate(file.fileno(), 2 << 20)
        return tree


class LeavesAThread(Good):
    caught_by: ClassVar = {"test_no_thread_outlives_it"}

    def described(self, artifact: Artifact) -> Artifact:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return artifact


class KeepsALog(Good):
    caught_by: ClassVar = {"test_it_writes_nothing_but_the_artifact"}

    def described(self, artifact: Artifact) -> Artifact:
        Path("tar.log").write_text("packed")
        return artifact


class ChangesTheTree(Good):
    caught_by: ClassVar = {"test_the_tree_is_left_as_it_was"}

    def changed(self, tree: Tree) -> Tree:
        for _, inode in tree.walk():
            inode.mode &= 0o3777
        return tree


class LetsFoldersThrough(Good):
    caught_by: ClassVar = {"test_what_is_no_artifact_is_an_error"}

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        if path.is_dir():
            raise IsADirectoryError(path)
        return super().read_tree(path)


class ReadsZerosBehindTheEnd(Good):
    caught_by: ClassVar = {"test_a_cut_artifact_is_an_error"}

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        if not path.is_file() or not cls.recognizes(path.read_bytes()):
            return super().read_tree(path)
        padded = path.with_name("padded")
        padded.write_bytes(path.read_bytes() + bytes(10 << 20))
        return super().read_tree(padded)


class CrashesOnDamage(Good):
    caught_by: ClassVar = {"test_a_damaged_artifact_is_an_error_or_a_tree"}

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        try:
            return super().read_tree(path)
        except BuildError as error:
            if path.is_file() and path.stat().st_size % (20 * 512) == 0 and path.stat().st_size > 20_000:
                raise IndexError(error.message) from error
            raise


class ReadsEverythingAtOnce(Good):
    caught_by: ClassVar = {"test_memory_stays_flat"}

    def changed(self, tree: Tree) -> Tree:
        self.kept = [inode.content.read() for _, inode in tree.walk() if isinstance(inode, File)]
        return tree


class NoHook(Good):
    caught_by: ClassVar = {"test_it_fits_the_hooks"}

    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        return super().pack_artifact(plan, tree, target)


class WorksAtOnce(Good):
    caught_by: ClassVar = {"test_creating_it_does_no_work"}

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        (self.context.store.folder / "own").mkdir(parents=True, exist_ok=True)


class LaxOptions(TarOptions):
    model_config: ClassVar = {**TarOptions.model_config, "extra": "ignore"}


class TakesAnyOption(Good):
    caught_by: ClassVar = {"test_an_unknown_option_is_refused", "test_the_options_have_a_schema"}
    options_model: ClassVar = LaxOptions


class SilentOptions(TarOptions):
    silent: bool = False


class TellsNothingOfAnOption(Good):
    caught_by: ClassVar = {"test_every_option_is_documented"}
    options_model: ClassVar = SilentOptions


class CallbackOptions(TarOptions):
    callback: Callable[[], int] | None = None
    """Nothing that stands in a file."""


class HasNoSchema(Good):
    caught_by: ClassVar = {"test_the_options_have_a_schema"}
    options_model: ClassVar = CallbackOptions


class IsNoFilesystem:
    """Has all that a filesystem has, but for the base class."""

    caught_by: ClassVar = {"test_it_is_installed_and_of_its_kind"}
    options_model: ClassVar[type[Options]] = TarOptions
    links_symlinks: ClassVar[bool] = True
    recognizes = Good.recognizes
    read_tree = Good.read_tree

    def __init__(self, *given: Any) -> None:
        self.real = Good(*given)

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        return self.real.pack_artifact(plan, tree, target)

    def held_mtime(self, mtime: int) -> int:
        return mtime

    def held_xattrs(self, xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        return xattrs
