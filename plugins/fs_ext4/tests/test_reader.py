"""The reader: our own images, those of mke2fs, and broken ones."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.any_tree import trees
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, MINIMAL_ACL, data, described, differences, hard_tree, sparse
from fledge.tree.inode import (
    Directory,
    File,
)
from fledge.tree.tree import Tree
from fledge_fs_ext4.driver import Ext4
from fledge_fs_ext4.reader import read_tree
from fledge_fs_ext4.volume import Volume
from hypothesis import HealthCheck, given, settings

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


def test_what_was_read_is_packed_into_the_same_bytes(pack: Pack) -> None:
    one = pack(hard_tree(), "one.img", epoch=1, size_buffer_mb=2)
    two = pack(read_tree(one), "two.img", epoch=1, size_buffer_mb=2)
    assert two.read_bytes() == one.read_bytes()


def test_what_a_kernel_made_of_our_image_is_read(pack: Pack) -> None:
    """Its folders grow from a list into an index, whose root keeps traces of the list."""
    image = pack(Tree(Directory(0o755)), size_buffer_mb=16, journal=False)
    names = {f"name-{i}".encode() for i in range(500)}
    with mounted(image, "ext4", writable=True) as folder:
        (folder / "grown").mkdir()
        for name in names:
            (folder / "grown" / name.decode()).write_bytes(name)
        assert not Volume(image).clean
    assert Volume(image).clean
    grown = read_tree(image).root.entries[b"grown"]
    assert isinstance(grown, Directory)
    assert {inode.content.read() for inode in grown.entries.values() if isinstance(inode, File)} == names


def test_holes_are_still_holes(pack: Pack) -> None:
    tree = Tree(Directory(0o755))
    tree.root.entries[b"f"] = File(sparse(9 << 30, (5 << 30, data(5000))), 0o644)
    read = read_tree(pack(tree, size_buffer_mb=1)).root.entries[b"f"]
    assert isinstance(read, File)
    assert [(piece.offset, piece.length) for piece in read.content.pieces] == [(5 << 30, 8192)]


@pytest.mark.parametrize(
    "options",
    [
        ("-b", "4096"),
        ("-b", "1024"),
        ("-b", "1024", "-I", "128"),
        ("-b", "4096", "-I", "512"),
        ("-b", "2048", "-O", "^metadata_csum,^64bit"),
        ("-b", "4096", "-O", "^flex_bg,^has_journal,^dir_index"),
    ],
    ids=" ".join,
)
def test_images_that_mke2fs_made_are_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    need_root()
    top = tmp_path / "top"
    top.mkdir(0o751)
    (top / "folder").mkdir()
    for i in range(900):
        (top / "folder" / f"entry-{i}").write_bytes(b"%d" % i)
    (top / "file").write_bytes(data(100_001))
    os.link(top / "file", top / "link")
    with open(top / "sparse", "wb") as file:
        for i in range(9):
            file.seek(i * 1_000_000)
            file.write(data(5000, i))
        file.truncate(20_000_000)
    for length in (10, 59, 60, 700):
        (top / f"symlink-{length}").symlink_to("t" * length)
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o060660, os.makedev(259, 70_000))
    os.mkfifo(top / "fifo")
    os.chown(top / "fifo", 70_000, 80_000)
    os.setxattr(top / "file", "user.small", b"value")
    os.setxattr(top / "folder", "trusted.large", data(700))
    os.setxattr(top / "sparse", "system.posix_acl_access", MINIMAL_ACL)
    os.utime(top / "file", ns=(EPOCH, 4_000_000_000_123_456_789 if "128" not in options else EPOCH))
    image = tmp_path / "mke2fs.img"
    run(need_tool("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", *options, "-d", top, image, "64M")
    with mounted(image, "ext4") as folder:
        found = differences(read_tree(image), folder, whole_seconds="128" in options)
        assert found == []


@pytest.mark.parametrize(
    ("kind", "message"), [("ext2", "has no extents"), ("ext4", "inline, which is not supported|features that are not")]
)
def test_what_is_not_supported_is_said(tmp_path: Path, kind: str, message: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").write_bytes(data(3000))
    image = tmp_path / "t.img"
    more = ("-O", "inline_data") if kind == "ext4" else ()
    run(need_tool("mke2fs", "e2fsprogs"), "-q", "-t", kind, *more, "-d", top, image, "16M")
    assert Ext4.recognizes(image.read_bytes()[: 128 << 10])
    with pytest.raises(BuildError, match=message):
        read_tree(image)


@pytest.mark.parametrize("head", [b"", b"hsqs", bytes(2000), b"070701" + bytes(3000), b"\x53\xef" * 3])
def test_other_files_are_not_recognized(head: bytes) -> None:
    assert not Ext4.recognizes(head)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"can't read .*: No such file or directory"):
        read_tree(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 1000, 2047, 3000, 100_000])
def test_a_file_that_is_cut_short(pack: Pack, size: int) -> None:
    image = pack(hard_tree(), size_buffer_mb=1)
    os.truncate(image, size)
    with pytest.raises(BuildError, match="is not an ext4 image that can be read"):
        read_tree(image)


def metadata_of(image: bytes) -> list[int]:
    """Offsets of the bytes up to the contents that are not zero, where a change means something."""
    return [at for at in range(1024, 700 * 4096) if image[at]]


def test_broken_images_are_an_error_or_a_tree_and_never_a_crash_or_a_loop(pack: Pack, tmp_path: Path) -> None:
    # Without the checksums' feature, so that the broken numbers themselves are met.
    image = pack(hard_tree(), size_buffer_mb=1)
    plain = tmp_path / "plain.img"
    plain.write_bytes(image.read_bytes())
    run(need_tool("tune2fs", "e2fsprogs"), "-O", "^metadata_csum", plain)
    sound = plain.read_bytes()
    randomly = random.Random(3)
    places = metadata_of(sound)
    errors = 0
    for _ in range(150):
        broken = bytearray(sound)
        for at in randomly.choices(places, k=randomly.choice((1, 5, 50, 400))):
            broken[at] = randomly.choice((0, 1, 0x7F, 0x80, 0xFF, randomly.randrange(256)))
        plain.write_bytes(broken)
        try:
            described(read_tree(plain))
        except BuildError:
            errors += 1
    assert errors > 60


@pytest.mark.parametrize("seed", range(12))
def test_a_wrong_bit_in_the_metadata_is_found_by_its_checksum(pack: Pack, seed: int) -> None:
    image = pack(hard_tree(), size_buffer_mb=1)
    sound = image.read_bytes()
    table = int(run(need_tool("dumpe2fs", "e2fsprogs"), image).stdout.split("Inode table at ")[1].split("-")[0]) * 4096
    at = random.Random(seed).choice([at for at in range(table + 11 * 256, table + 600 * 256) if sound[at]])
    broken = bytearray(sound)
    broken[at] ^= 1 << seed % 8
    image.write_bytes(broken)
    with pytest.raises(BuildError, match="has a wrong checksum"):
        described(read_tree(image))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(tree=trees(seconds=(-(1 << 31), 15_032_385_535)))
def test_any_tree_passes_e2fsck_and_is_read_back(pack: Pack, fsck: Fsck, tree: Tree) -> None:
    image = pack(tree, size_buffer_mb=1, journal=False)
    fsck(image)
    assert described(read_tree(image)) == described(tree)
