"""The reader: our own images, those of mke2fs, and broken ones."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, MINIMAL_ACL, data, differences, hard_tree, sparse
from fledge.tree.content import Content
from fledge.tree.inode import (
    BlockDevice,
    CharDevice,
    Device,
    Directory,
    Fifo,
    File,
    Inode,
    Socket,
    Symlink,
)
from fledge.tree.tree import Tree
from fledge_fs_ext4.driver import Ext4
from fledge_fs_ext4.reader import read_tree
from fledge_fs_ext4.volume import Volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


def described(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    """Every path with all there is to its inode; hard links share the first path."""
    first: dict[int, bytes] = {}
    return {path: (first.setdefault(id(inode), path), *describe(inode)) for path, inode in tree.walk()}


def describe(inode: Inode) -> tuple[object, ...]:
    detail: object = None
    if isinstance(inode, File):
        detail = inode.content.size, inode.content.read() if inode.content.size < 1 << 26 else None
    elif isinstance(inode, Symlink):
        detail = inode.target
    elif isinstance(inode, Device):
        detail = inode.major, inode.minor
    return type(inode), inode.mode, inode.uid, inode.gid, inode.mtime, dict(inode.xattrs), detail


def test_our_images_are_read_back(pack: Pack) -> None:
    tree = hard_tree()
    assert described(read_tree(pack(tree))) == described(tree)


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


def read_all(image: Path) -> None:
    for _, inode in read_tree(image).walk():
        describe(inode)


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
            read_all(plain)
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
        read_all(image)


names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"\0", b"n").replace(b"/", b"s"))
    .filter(lambda raw: raw not in (b".", b".."))
)
times = st.integers(-(1 << 31) * 10**9, 15_032_385_535 * 10**9)
owners = st.integers(0, (1 << 32) - 1)
modes = st.integers(0, 0o7777)
attributes = st.dictionaries(
    st.sampled_from([b"user.a", b"user.longer-name", b"trusted.t", b"security.s"]), st.binary(max_size=300), max_size=3
)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    pieces, at = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 9000)), max_size=7)):
        pieces.append((at + gap, data(size, gap)))
        at += gap + size
    return sparse(at + draw(st.sampled_from([0, 1, 5000])), *pieces)


@st.composite
def inodes(draw: st.DrawFn) -> Inode:
    common = draw(modes), draw(owners), draw(owners), draw(times), draw(attributes)
    kind = draw(st.sampled_from([File, File, Symlink, CharDevice, BlockDevice, Fifo, Socket]))
    if kind is File:
        return File(draw(contents()), *common)
    if kind is Symlink:
        return Symlink(draw(st.binary(min_size=1, max_size=200).map(lambda raw: raw.replace(b"\0", b"x"))), *common)
    if kind is CharDevice or kind is BlockDevice:
        return kind(draw(st.integers(0, 4095)), draw(st.integers(0, 1_048_575)), *common)
    return kind(*common)  # type: ignore[return-value, call-arg, arg-type]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    root = Directory(draw(modes), draw(owners), draw(owners), draw(times), draw(attributes))
    folders = [root]
    shared: list[Inode] = []
    for name in draw(st.lists(names, max_size=25, unique=True)):
        parent = draw(st.sampled_from(folders))
        what = draw(st.sampled_from(["inode", "inode", "folder", "link"]))
        if what == "folder":
            inode: Inode = Directory(draw(modes), mtime=draw(times), xattrs=draw(attributes))
            folders.append(inode)  # type: ignore[arg-type]
        elif what == "link" and shared:
            inode = draw(st.sampled_from(shared))
        else:
            inode = draw(inodes())
            shared.append(inode)
        parent.entries[name] = inode
    return Tree(root)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(tree=trees())
def test_any_tree_passes_e2fsck_and_is_read_back(pack: Pack, fsck: Fsck, tree: Tree) -> None:
    image = pack(tree, size_buffer_mb=1, journal=False)
    fsck(image)
    assert described(read_tree(image)) == described(tree)
