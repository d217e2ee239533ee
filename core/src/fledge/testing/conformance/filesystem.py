"""What every filesystem driver must do."""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from fledge import drivers
from fledge.errors import BuildError
from fledge.inspection import HEAD
from fledge.kinds import Filesystem
from fledge.testing.builds import context
from fledge.testing.conformance import guards, packing
from fledge.testing.conformance.driver import DriverConformance, only_if, refusal
from fledge.testing.conformance.exact import EXACT
from fledge.testing.conformance.packing import Packed
from fledge.testing.conformance.special import FOREIGN, failing_tree, held, small_tree
from fledge.testing.conformance.traits import NAME, Limit, able_tree, unable_tree
from fledge.testing.oracles import mounted, need_root
from fledge.testing.trees import EPOCH, SECOND, data, differences
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import Digest, show_path
from fledge.verify_tree import differences as tree_differences
from fledge.verify_tree import unreadable

_MIB: Final = 1 << 20

ASPECTS: Final = ("entry", "kind", "mode", "owner", "mtime", "xattr", "content", "target", "device", "hard link")
"""Of an inode, as verify_tree tells them."""


class FilesystemConformance(DriverConformance):
    """Packs a tree with everything in it, reads it back, and breaks it.

    Beside `name` and `options`, a subclass tells what its format is like:
    """

    kernel: ClassVar[str | None] = None
    """The kernel's name of the filesystem, to mount it as an independent reader (root); None: it can't be mounted."""
    only_mounted: ClassVar[Collection[bytes]] = ()
    """Relative paths that only the mounted filesystem has, such as `lost+found`."""
    kernel_xattrs: ClassVar[Collection[bytes]] = ()
    """Xattrs that the kernel shows of the mounted filesystem although nobody set them."""
    lacks: ClassVar[Collection[str]] = ()
    """Names of `traits.TRAITS` that the format can't hold: each must be an error with the path."""
    limits: ClassVar[Sequence[Limit]] = (NAME,)
    """The format's numbers: the most is packed and read back, one more is an error with the path."""
    block: ClassVar[int] = 4096
    """Bytes: files and symlinks of the hard tree have sizes around it."""
    variants: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Further options, over `options`, with which the hard tree must be read back as well."""

    kind = "filesystem"
    base = Filesystem
    hook = "pack_artifact"

    def pack(self, tree: Tree, folder: Path, **more: Any) -> Packed:
        """Packs as a build does, with the class's options; `more` is packing.pack's."""
        return packing.pack(self.name, self.options, tree, folder, **more)

    def hard_tree(self) -> Tree:
        """Everything that the format holds, anew each time."""
        return able_tree(self.block, self.lacks)

    def pack_hard_tree(self, folder: Path) -> Packed:
        """For the fixture `fledge_packed`."""
        return self.pack(self.hard_tree(), folder)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A case for each fact that the subclass tells."""
        cases: dict[str, list[Any]] = {
            "trait": [pytest.param(trait, id=trait) for trait in sorted(self.lacks)],
            "limit": [pytest.param(limit, id=limit.what) for limit in self.limits],
            "fitting": [pytest.param(limit, id=limit.what) for limit in self.limits if limit.fits],
            "variant": [pytest.param(one, id="-".join(map(str, one.values()))) for one in self.variants],
        }
        for name, found in cases.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, found)

    # What comes back

    @pytest.mark.parametrize("aspect", ASPECTS)
    def test_every_inode_is_read_back(self, fledge_packed: Packed, aspect: str) -> None:
        """The driver's own reader sees the tree that was packed."""
        found = _told(fledge_packed.differences, aspect)
        assert found == []

    @only_if(lambda cls: cls.kernel)
    def test_the_kernel_sees_the_same(self, fledge_packed: Packed) -> None:
        """A reader that is not the driver's: what both sides of it get wrong alike shows here only."""
        assert self.kernel is not None
        need_root()
        expected = held(self.hard_tree(), fledge_packed.filesystem)
        with mounted(fledge_packed.path, self.kernel) as folder:
            found = differences(expected, folder, ignore=self.only_mounted, kernel_xattrs=self.kernel_xattrs)
        assert found == []

    @only_if(lambda cls: cls.variants)
    def test_every_variant_is_read_back(self, tmp_path: Path, variant: Mapping[str, Any]) -> None:
        """Compressors, block sizes, features."""
        packed = packing.pack(self.name, {**self.options, **variant}, self.hard_tree(), tmp_path)
        assert _told(packed.differences) == []

    def test_what_was_read_can_be_packed_again(self, fledge_packed: Packed, tmp_path: Path) -> None:
        """Contents of an artifact are sources like any other."""
        tree = self.driver.read_tree(fledge_packed.path)
        again = self.pack(tree, tmp_path)
        assert _told(tree_differences(tree, self.driver.read_tree(again.path), again.filesystem)) == []

    def test_the_artifact_is_described(self, fledge_packed: Packed) -> None:
        """Name, tree, size and digest are what the manifest is made of."""
        artifact = fledge_packed.artifact
        assert artifact.format == self.name
        assert artifact.tree is fledge_packed.tree
        assert artifact.size == fledge_packed.path.stat().st_size
        assert fledge_packed.digest == Digest("sha256", fledge_packed.sha256)

    def test_it_recognizes_its_own(self, fledge_packed: Packed) -> None:
        """`fledge inspect` shows it whole heads of artifacts."""
        assert self.driver.recognizes(_head(fledge_packed.path))

    def test_no_other_driver_recognizes_it(self, fledge_packed: Packed) -> None:
        """`fledge inspect` takes the first that does."""
        head = _head(fledge_packed.path)
        found = [one.name for one in drivers.installed() if one.kind == "filesystem" and one.failure is None]
        others: list[Any] = [drivers.load("filesystem", name) for name in found if name != self.name]
        assert [other for other in others if other.recognizes(head)] == []

    @pytest.mark.parametrize("head", FOREIGN.values(), ids=list(FOREIGN))
    def test_it_recognizes_nothing_else(self, head: bytes) -> None:
        """Also heads that are shorter than what it looks at."""
        assert not self.driver.recognizes(head)

    # Trees that are hard in one way

    def test_an_empty_tree(self, tmp_path: Path) -> None:
        """A root directory, and nothing in it."""
        packed = self.pack(Tree(Directory(0o755, 1, 2, EPOCH), EPOCH), tmp_path)
        assert _told(packed.differences) == []

    def test_times_of_any_age_are_no_error(self, tmp_path: Path) -> None:
        """What the format can't hold is cut or clamped, as `held_mtime` says (a layer may have any time)."""
        tree = Tree(Directory(0o755, mtime=EPOCH))
        moments = (-(1 << 62), -(1 << 31) * SECOND - 1, -SECOND, -1, 1, 999_999_999, 1 << 62, (1 << 64) * SECOND)
        for number, moment in enumerate((*moments, *(edge * SECOND for edge in (1 << 31, 1 << 32, 1 << 34)))):
            tree.root.entries[b"%d" % number] = File(Content.of(b"t"), 0o644, mtime=moment)
        packed = self.pack(tree, tmp_path)
        assert _told(packed.differences) == []

    def test_a_deep_tree_is_packed_or_refused(self, tmp_path: Path) -> None:
        """1500 levels: more than Python's stack has, and a path that is longer than the kernel takes."""
        tree = Tree(Directory(0o755))
        folder = tree.root
        for _ in range(1500):
            below = Directory(0o755)
            folder.entries[b"deep"] = below
            folder = below
        message = None
        try:
            packed = self.pack(tree, tmp_path)
        except BuildError as error:
            message = error.message
        if message is None:
            assert _told(packed.differences) == []
        else:
            assert "/deep/deep" in message

    def test_a_folder_of_many_entries(self, tmp_path: Path) -> None:
        """1000 names, of which some differ in one bit only."""
        tree = Tree(Directory(0o755))
        for number in range(1000):
            tree.root.entries[b"%d-%s" % (number, b"n" * (number % 200))] = File(Content.of(b"%d" % number), 0o644)
        packed = self.pack(tree, tmp_path)
        assert _told(packed.differences) == []

    # What does not fit

    @only_if(lambda cls: cls.lacks)
    def test_what_it_lacks_is_an_error(self, tmp_path: Path, trait: str) -> None:
        """Never left out: the path is named, and no artifact appears."""
        tree, paths = unable_tree(trait)
        message = refusal(lambda: self.pack(tree, tmp_path), BuildError)
        assert any(show_path(path) in message for path in paths)
        assert not (tmp_path / "artifact.img").exists()

    @only_if(lambda cls: any(limit.fits for limit in cls.limits))
    def test_the_most_fits(self, tmp_path: Path, fitting: Limit) -> None:
        """The declared number is not too small to be true."""
        packed = self.pack(fitting.make(fitting.most)[0], tmp_path)
        assert _told(packed.differences) == []

    @only_if(lambda cls: cls.limits)
    def test_more_than_the_most_is_an_error(self, tmp_path: Path, limit: Limit) -> None:
        """One more: the path is named, and no artifact appears."""
        tree, path = limit.make(limit.most + 1)
        message = refusal(lambda: self.pack(tree, tmp_path), BuildError)
        assert (str(limit.most) if path is None else show_path(path)) in message
        assert not (tmp_path / "artifact.img").exists()

    # The same bytes

    def test_the_same_bytes_with_other_jobs(self, fledge_packed: Packed, tmp_path: Path) -> None:
        """Threads end in any order."""
        for jobs in (1, 4):
            assert self.pack(self.hard_tree(), tmp_path / str(jobs), jobs=jobs).sha256 == fledge_packed.sha256

    def test_the_same_bytes_with_entries_in_another_order(self, fledge_packed: Packed, tmp_path: Path) -> None:
        """A directory's entries and an inode's xattrs have no order of their own."""
        tree = self.hard_tree()
        for _, inode in tree.walk():
            inode.xattrs = dict(reversed(list(inode.xattrs.items())))
            if isinstance(inode, Directory):
                inode.entries = dict(reversed(list(inode.entries.items())))
        assert self.pack(tree, tmp_path).sha256 == fledge_packed.sha256

    def test_the_same_bytes_at_another_time(
        self, fledge_packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No clock, and no random numbers either: a UUID comes from the content."""
        now, now_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + 1e8)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 10**17)
        assert self.pack(self.hard_tree(), tmp_path).sha256 == fledge_packed.sha256

    def test_the_same_bytes_from_a_warm_cache(self, fledge_packed: Packed, tmp_path: Path) -> None:
        """What a build before kept must not show."""
        store = context(tmp_path / "warm").store
        for number in range(2):
            packed = self.pack(self.hard_tree(), tmp_path / str(number), store=store)
            assert packed.sha256 == fledge_packed.sha256

    def test_the_same_bytes_in_another_environment(self, fledge_packed: Packed, tmp_path: Path) -> None:
        """Another process, hash seed, umask, time zone, locale, home and current folder."""
        digest = packing.digest_elsewhere(self.name, self.options, self.block, self.lacks, tmp_path)
        assert digest == fledge_packed.sha256

    # Complete or absent

    def test_a_source_that_fails_ends_the_packing(self, tmp_path: Path) -> None:
        """Its error arrives as it is, the old artifact stands as it stood, and nothing new is left."""
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "artifact.img").write_bytes(b"the old one")
        before = guards.contents(tmp_path / "out")
        store = context(tmp_path / "cache").store
        error = BuildError("the layer was cut short")
        with pytest.raises(BuildError) as caught:
            self.pack(failing_tree(error), tmp_path / "out", store=store)
        assert caught.value is error
        assert guards.contents(tmp_path / "out") == before
        assert list((tmp_path / "cache" / "tmp").glob("*")) == []

    def test_a_full_disk_is_an_error(self, tmp_path: Path) -> None:
        """Whichever call meets it; no artifact appears."""
        tree = Tree(Directory(0o755))
        tree.root.entries[b"noise"] = File(Content.of(data(3 * _MIB)), 0o644)
        store = context(tmp_path / "cache").store
        with guards.at_most_file_size(_MIB):
            refusal(lambda: self.pack(tree, tmp_path / "out", store=store), BuildError)
        assert guards.contents(tmp_path / "out") == {}

    def test_no_thread_outlives_it(self, tmp_path: Path) -> None:
        """Neither after an artifact nor after an error."""
        before = set(threading.enumerate())
        self.pack(self.hard_tree(), tmp_path / "good")
        with pytest.raises(BuildError):
            self.pack(failing_tree(BuildError("the layer was cut short")), tmp_path / "bad")
        assert guards.left_threads(before) == []

    def test_it_writes_nothing_but_the_artifact(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing in the current folder, nothing for temporary files, no second file beside the artifact."""
        for name in ("cwd", "tmp", "out"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        self.pack(self.hard_tree(), tmp_path / "out", store=context(tmp_path / "cache").store)
        left = {name: sorted(os.listdir(tmp_path / name)) for name in ("cwd", "tmp", "out", "cache/tmp")}
        assert left == {"cwd": [], "tmp": [], "out": ["artifact.img", "artifact.img.manifest.json"], "cache/tmp": []}

    def test_the_tree_is_left_as_it_was(self, fledge_packed: Packed) -> None:
        """The manifest is made from it afterwards, and extensions look at it."""
        assert _told(tree_differences(self.hard_tree(), fledge_packed.tree, EXACT)) == []

    # Artifacts that are not sound

    def test_what_is_no_artifact_is_an_error(self, tmp_path: Path) -> None:
        """A file that is not there, a folder, and files of something else."""
        refusal(lambda: self.driver.read_tree(tmp_path / "nowhere"), BuildError)
        refusal(lambda: self.driver.read_tree(tmp_path), BuildError)
        for name, head in FOREIGN.items():
            path = tmp_path / name
            path.write_bytes(head)
            refusal(lambda path=path: self.driver.read_tree(path), BuildError)  # type: ignore[misc]

    def test_a_cut_artifact_is_an_error(self, tmp_path: Path) -> None:
        """Never less than was packed, without a word."""
        packed = self.pack(small_tree(self.hard_tree()), tmp_path)
        size = packed.path.stat().st_size
        sound = _told(packed.differences)  # What is lost without a cut is told elsewhere.
        for length in (size - 1, size * 3 // 4, size // 2, size // 10, 2000, 600, 100, 4):
            os.truncate(packed.path, length)
            found = self._reading(packed)
            if found is not None:
                assert found == sound, f"cut to {length} of {size} bytes"

    def test_a_damaged_artifact_is_an_error_or_a_tree(self, tmp_path: Path) -> None:
        """Whatever the bytes are: a BuildError or a tree, in little time and memory. Bytes from elsewhere are hostile."""
        packed = self.pack(small_tree(self.hard_tree()), tmp_path)
        sound = packed.path.read_bytes()
        randomly = random.Random(4711)
        used = [at for at in range(0, len(sound), 64) if any(sound[at : at + 64])]
        with open(packed.path, "r+b", buffering=0) as file:
            for _ in range(60):
                places = [
                    min(randomly.choice(used) + randomly.randrange(64), len(sound) - 1)
                    for _ in range(randomly.choice((1, 4, 30)))
                ]
                for at in places:
                    os.pwrite(file.fileno(), bytes([randomly.choice((0, 1, 0x7F, 0xFF, sound[at] ^ 1))]), at)
                self._reading(packed)
                for at in places:
                    os.pwrite(file.fileno(), sound[at : at + 1], at)

    # Memory

    def test_memory_stays_flat(self, tmp_path: Path) -> None:
        """An image of any size is packed in the same memory: what was copied is given back (`Source.release`)."""
        small = packing.peak_memory(self.name, self.options, 8 * _MIB, tmp_path)
        large = packing.peak_memory(self.name, self.options, 200 * _MIB, tmp_path)
        assert large - small < 64 * _MIB, f"{small >> 20} MiB for 8 MiB, {large >> 20} MiB for 200 MiB"

    # What the checks share

    def _reading(self, packed: Packed) -> list[str] | None:
        """What reading everything of a broken artifact finds; None when it is refused. Fails when it takes too much."""
        with guards.within(30), guards.at_most_memory(2048 * _MIB):
            try:
                tree = self.driver.read_tree(packed.path)
                if any(unreadable(tree)):
                    return None
                return _told(tree_differences(packed.tree, tree, packed.filesystem))
            except BuildError:
                return None


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD)


def _told(found: object, aspect: str | None = None) -> list[str]:
    """Differences as lines; `aspect`: those of one kind only. The first few tell enough."""
    lines = [
        f"{show_path(one.path or b'')}: {one.what}: expected {one.expected[:80]}, found {one.found[:80]}"
        for one in found  # type: ignore[attr-defined]
        if aspect is None or one.what == aspect or one.what.startswith(f"{aspect} ")
    ]
    return lines[:20]
