"""Whole images against the kernel, fsck.erofs and dump.erofs."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import (
    EPOCH,
    MINIMAL_ACL,
    SECOND,
    data,
    differences,
    empty_files,
    hard_tree,
    sparse,
    tree_with,
)
from fledge.tree.content import Content, MemorySource
from fledge.tree.inode import CharDevice, Directory, File, Symlink
from fledge.tree.tree import Tree
from fledge_fs_erofs.driver import Erofs
from fledge_fs_erofs.reader import read_tree
from fledge_fs_erofs.superblock import seal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]

SUPERBLOCK = 1024
UUID = slice(SUPERBLOCK + 48, SUPERBLOCK + 64)
BUILD_TIME = slice(SUPERBLOCK + 24, SUPERBLOCK + 32)
TEXT = b"".join(b"line %d of a text that compresses well\n" % i for i in range(30_000))

OPTIONS = [{"compression": "none"}, {}, {"compression_level": 9}]
each_compression = pytest.mark.parametrize("options", OPTIONS, ids=["none", "lz4", "lz4hc"])


def compressible_tree() -> Tree:
    """Files that compress, do not, or only in part, with sizes around every boundary of clusters and blocks."""
    tree = hard_tree()
    folder = tree.root.entries[b"clusters"] = Directory(0o755)
    cluster = 128 << 10
    noise = data(2 * cluster, 5)
    for size in (100, 3000, 4095, 4096, 4097, 8192, 9000, 65_536, *range(cluster - 1, cluster + 2), cluster + 100):
        for more in (0, cluster):
            length = size + more
            contents = {
                b"text": TEXT[:length],
                b"noise": noise[:length],
                b"text-noise": TEXT[: length // 2] + noise[: length - length // 2],
                b"noise-text": noise[: length // 2] + TEXT[: length - length // 2],
                b"text-tail": TEXT[: length // 4096 * 4096] + noise[: length % 4096],
            }
            for name, content in contents.items():
                # Attributes move what follows the inode, and its alignment.
                xattrs = {b"user.length": b"x" * (length % 7)} if name == b"text" else {}
                folder.entries[b"%s-%d" % (name, length)] = File(Content.of(content), 0o644, xattrs=xattrs)
    folder.entries[b"long"] = File(Content.of(TEXT), 0o644)
    return tree


def shuffled(tree: Tree) -> Tree:
    """The same tree, with every folder's entries in another order."""
    for _, inode in list(tree.walk()):
        if isinstance(inode, Directory):
            entries = list(inode.entries.items())
            random.Random(7).shuffle(entries)
            inode.entries = dict(entries)
    return tree


@each_compression
def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, fsck: Fsck, options: dict[str, object]) -> None:
    tree = compressible_tree()
    image = pack(tree, **options)
    fsck(image)
    with mounted(image, "erofs") as folder:
        assert differences(tree, folder) == []


@each_compression
def test_case_092_the_same_tree_gives_the_same_bytes(pack: Pack, options: dict[str, object]) -> None:
    one = pack(compressible_tree(), "one.img", jobs=1, **options).read_bytes()
    assert pack(shuffled(compressible_tree()), "two.img", jobs=5, **options).read_bytes() == one


def test_another_tree_gives_another_uuid(pack: Pack) -> None:
    def uuid(tree: Tree, name: str) -> bytes:
        return pack(tree, name).read_bytes()[UUID]

    changed = empty_files(3)
    changed.root.entries[b"file-00001"].mode = 0o600
    assert uuid(empty_files(3), "a") == uuid(empty_files(3), "b")
    assert len({uuid(empty_files(3), "c"), uuid(empty_files(4), "d"), uuid(changed, "e")}) == 3


def test_the_time_of_the_filesystem_is_the_plans_epoch_else_the_trees(pack: Pack) -> None:
    def made(image: Path) -> int:
        return int.from_bytes(image.read_bytes()[BUILD_TIME], "little")

    assert made(pack(empty_files(1), epoch=42)) == 42
    assert made(pack(empty_files(1))) == EPOCH // SECOND


def test_an_empty_tree(pack: Pack, fsck: Fsck) -> None:
    tree = Tree(Directory(0o700, 1000, 1001, EPOCH + 1))
    image = pack(tree)
    fsck(image)
    assert image.stat().st_size == 2 * 4096
    with mounted(image, "erofs") as folder:
        assert differences(tree, folder) == []


def test_an_inode_in_the_last_slot(pack: Pack, fsck: Fsck) -> None:
    """fsck.erofs 1.5 reads an xattr header behind every inode, also where there is none."""
    image = pack(empty_files(46))
    fsck(image)
    found = image.read_bytes()
    assert any(found[2 * 4096 - 64 : 2 * 4096])
    assert found[2 * 4096 :] == bytes(4096)


@pytest.mark.parametrize(
    "moment", [-1, -(1 << 31) * SECOND - 1, (1 << 32) * SECOND + 7, (1 << 36) * SECOND + 999_999_999]
)
def test_times_need_not_be_clamped(pack: Pack, moment: int) -> None:
    tree = empty_files(1)
    tree.root.entries[b"file-00000"].mtime = moment
    image = pack(tree)
    with mounted(image, "erofs") as folder:
        assert (folder / "file-00000").stat().st_mtime_ns == moment


@pytest.mark.parametrize(
    ("major", "minor"), [(0, 0), (1, 3), (255, 255), (256, 0), (0, 256), (4095, 1_048_575), (0, 1_048_575)]
)
def test_device_numbers(pack: Pack, major: int, minor: int) -> None:
    need_root()
    tree = Tree(Directory(0o755))
    tree.root.entries[b"device"] = CharDevice(major, minor, 0o600)
    with mounted(pack(tree), "erofs") as folder:
        assert differences(tree, folder) == []


def test_attributes_that_inodes_share_stand_in_the_image_once(pack: Pack, fsck: Fsck) -> None:
    tree = empty_files(500)
    label, own = b"system_u:object_r:everyones_label:s0", b"the label of one alone"
    for inode in tree.root.entries.values():
        inode.xattrs = {b"security.selinux": label, b"system.posix_acl_access": MINIMAL_ACL}
    tree.root.xattrs = {b"security.selinux": own}
    image = pack(tree)
    fsck(image)
    assert image.read_bytes().count(label) == image.read_bytes().count(own) == 1
    with mounted(image, "erofs") as folder:
        assert differences(tree, folder) == []


def test_dump_erofs_reads_it(pack: Pack) -> None:
    tree = hard_tree()
    tree.root.entries[b"stamp"] = File(Content.of(TEXT), 0o750, 100_001, 100_002, EPOCH + 5)
    image = pack(tree)
    dump = need_tool("dump.erofs", "erofs-utils")
    head = run(dump, "-s", image).stdout
    for feature in ("sb_csum", "mtime", "0padding", "big_pcluster", "chunked_file"):
        assert feature in head
    stamp = run(dump, "--path=/stamp", image).stdout
    assert "Uid: 100001   Gid: 100002  Access: 0750" in stamp
    assert re.search(r"Timestamp: 2023-11-14 22:13:20.000000005", stamp)


@pytest.mark.parametrize("at", [SUPERBLOCK + 30, SUPERBLOCK + 60, 4090])
def test_fsck_and_the_kernel_see_one_wrong_bit_in_the_superblocks_block(pack: Pack, at: int) -> None:
    """Proves the oracles."""
    image = pack(hard_tree())
    flip(image, at)
    assert "checksum" in run(need_tool("fsck.erofs", "erofs-utils"), image).stderr
    with pytest.raises(pytest.fail.Exception, match="the kernel does not mount"), mounted(image, "erofs"):
        pass


def test_fsck_and_the_comparison_see_one_wrong_bit_in_compressed_data(pack: Pack) -> None:
    """Proves the oracles."""
    tree = Tree(Directory(0o755))
    tree.root.entries[b"text"] = File(Content.of(TEXT), 0o644)
    image = pack(tree)
    flip(image, 2 * 4096 - 2000)
    done = run(need_tool("fsck.erofs", "erofs-utils"), "--extract", image, check=False)
    assert done.returncode != 0
    with mounted(image, "erofs") as folder:
        try:
            found = differences(tree, folder)
        except OSError as error:
            found = [str(error)]
    assert found


def test_the_comparison_sees_a_changed_inode(pack: Pack) -> None:
    """Proves the other oracle."""
    tree = hard_tree()
    image = pack(tree)
    tree.root.entries[b"special"].mtime += 1
    links = tree.root.entries[b"links"]
    assert isinstance(links, Directory)
    links.entries[b"bytes"].xattrs = {b"trusted.new": b""}
    with mounted(image, "erofs") as folder:
        assert len(differences(tree, folder)) == 2


@st.composite
def files(draw: st.DrawFn) -> File:
    """Pieces of text, noise and nothing, in any order and of any length."""
    parts = draw(st.lists(st.tuples(st.sampled_from(["text", "noise", "hole"]), st.integers(1, 200_000)), max_size=5))
    pieces, at = [], 0
    for kind, length in parts:
        if kind != "hole":
            pieces.append((at, TEXT[at : at + length] if kind == "text" else data(length, at)))
        at += length
    xattrs = draw(st.dictionaries(st.sampled_from([b"user.a", b"trusted.b", b"security.c"]), st.binary(max_size=4000)))
    return File(sparse(at, *pieces), draw(st.integers(0, 0o7777)), xattrs=xattrs)


@each_compression
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(found=st.lists(files(), min_size=1, max_size=12))
def test_any_files(pack: Pack, fsck: Fsck, options: dict[str, object], found: list[File]) -> None:
    tree = Tree(Directory(0o755))
    tree.root.entries = {b"file-%d" % i: file for i, file in enumerate(found)}
    image = pack(tree, **options)
    fsck(image)
    with mounted(image, "erofs") as folder:
        assert differences(tree, folder) == []
        assert differences(read_tree(image), folder) == []


def flip(image: Path, at: int) -> None:
    with open(image, "r+b") as file:
        old = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes((old[0] ^ 0x10,)), at)


def test_it_is_known_by_its_superblock_and_says_what_the_kernel_needs(pack: Pack) -> None:
    plain, compressed = (
        pack(empty_files(1), "plain.img", compression="none").read_bytes(),
        pack(empty_files(1), "lz4.img").read_bytes(),
    )
    assert Erofs.recognizes(plain)
    assert not Erofs.recognizes(b"")
    assert not Erofs.recognizes(seal(b"other"))
    assert [feature.symbol for feature in Erofs.kernel_features(plain)] == ["EROFS_FS"]
    assert [feature.symbol for feature in Erofs.kernel_features(compressed)] == ["EROFS_FS", "EROFS_FS_ZIP"]


class Unread(MemorySource):
    """Contents that are not wanted."""

    def view(self, start: int, length: int) -> memoryview:
        pytest.fail("a content was read")


def test_an_error_names_the_path_before_any_content_is_read(pack: Pack) -> None:
    tree = tree_with({b"0": File(Content.whole(Unread(TEXT)), 0o644)})
    below = tree.root.entries[b"a"] = Directory(0o755)
    below.entries[b"link"] = Symlink(b"t" * 4096)
    with pytest.raises(BuildError, match=r"^/a/link points to 4096 bytes; an erofs symlink holds 4095$"):
        pack(tree)
