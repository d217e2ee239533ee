"""Reading archives back: ours, GNU cpio's, and damaged ones."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.trees import EPOCH, SECOND, data, differences, hard_tree
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import Device, Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge_fs_cpio import format as newc
from fledge_fs_cpio.driver import Cpio

TRAILER = newc.entry(newc.TRAILER, 0, 0, 0, 0, 1, 0, 0)
DIR, REG, LNK = 0o40755, 0o100644, 0o120777


def entry(name: bytes, body: bytes = b"", mode: int = REG, *, ino: int = 0, nlink: int = 1, mtime: int = 0) -> bytes:
    return newc.entry(name, ino, mode, 0, 0, nlink, mtime, len(body)) + body + newc.padding(len(body))


def read(folder: Path, *pieces: bytes) -> Tree:
    path = folder / "archive"
    path.write_bytes(b"".join(pieces))
    return Cpio.read_tree(path)


def content(tree: Tree, name: bytes) -> bytes:
    inode: Inode = tree.root
    for part in name.split(b"/"):
        assert isinstance(inode, Directory)
        inode = inode.entries[part]
    assert isinstance(inode, File)
    return inode.content.read()


def flat(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    """By path: what newc holds of an inode, and with which names it is one."""
    group: dict[int, bytes] = {}
    found = {}
    for path, inode in tree.walk():
        body = (
            inode.content.read()
            if isinstance(inode, File)
            else inode.target
            if isinstance(inode, Symlink)
            else (inode.major, inode.minor)
            if isinstance(inode, Device)
            else None
        )
        first = path if isinstance(inode, Symlink) else group.setdefault(id(inode), path)
        found[path] = (type(inode), inode.mode, inode.uid, inode.gid, inode.mtime // SECOND, body, first)
    return found


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_what_was_packed_is_read_back(pack, compression):
    tree = hard_tree()
    archive = pack(tree, compression=compression, xattrs="drop")
    assert Cpio.recognizes(archive.read_bytes()[: 128 << 10])
    assert flat(Cpio.read_tree(archive)) == flat(tree)


def test_an_archive_of_gnu_cpio(tmp_path):
    need_root()
    need_tool("cpio")
    top = tmp_path / "tree"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_bytes(data(70_000))
    os.link(top / "a" / "file", top / "a" / "b" / "hard")
    (top / "link").symlink_to("a/file")
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    os.mkfifo(top / "pipe")
    os.chown(top / "link", 5, 6, follow_symlinks=False)
    for form in ("newc", "crc"):
        with subprocess.Popen(["find", ".", "-print0"], cwd=top, stdout=subprocess.PIPE) as find:
            made = subprocess.run(
                ["cpio", "--null", "-o", "--quiet", f"--format={form}"],
                cwd=top,
                stdin=find.stdout,
                capture_output=True,
                check=True,
            ).stdout
        assert differences(read(tmp_path, made), top, whole_seconds=True) == []
        assert differences(read(tmp_path, gzip.compress(made)), top, whole_seconds=True) == []


def test_archives_follow_each_other_as_for_the_kernel(tmp_path):
    one = entry(b".", mode=0o40700) + entry(b"d", mode=DIR) + entry(b"d/a", b"1") + entry(b"d/b", b"1") + TRAILER
    two = entry(b"./d/b", b"22", mtime=5) + entry(b"/c", b"3") + TRAILER
    three = entry(b"e", b"4")  # without a trailer, as the kernel allows
    tree = read(tmp_path, one, bytes(512), gzip.compress(two, mtime=0), bytes(3), gzip.compress(three))
    names = [path for path, _ in tree.walk()]
    assert names == [b"", b"c", b"d", b"e", b"d/a", b"d/b"]
    assert tree.root.mode == 0o700
    assert [content(tree, name) for name in (b"d/a", b"d/b", b"c", b"e")] == [b"1", b"22", b"3", b"4"]


def test_hard_links_are_of_one_archive_and_data_comes_with_any_name(tmp_path):
    one = [entry(b"a", b"1", ino=7, nlink=2), entry(b"b", ino=7, nlink=2), TRAILER]
    two = [entry(b"c", ino=7, nlink=2), entry(b"d", b"2", ino=7, nlink=2), entry(b"e", b"3", ino=7), TRAILER]
    root = read(tmp_path, *one, *two).root.entries
    assert root[b"a"] is root[b"b"]
    assert root[b"c"] is root[b"d"]
    assert len({id(inode) for inode in root.values()}) == 3
    assert [root[name].content.read() for name in (b"a", b"c", b"e")] == [b"1", b"2", b"3"]  # type: ignore[attr-defined]


def test_paths_through_symlinks_stay_inside(tmp_path):
    tree = read(
        tmp_path,
        entry(b"usr", mode=DIR),
        entry(b"usr/bin", mode=DIR),
        entry(b"bin", b"/../usr/bin", LNK),
        entry(b"bin/sh", b"x"),
        TRAILER,
    )
    assert content(tree, b"usr/bin/sh") == b"x"


GOOD = entry(b"a", b"12345") + TRAILER


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (bytes(600), "it is empty"),
        (TRAILER, "it is empty"),
        (b"hello", "neither newc, gzip nor zstd"),
        (GOOD + b"hello", "neither newc, gzip nor zstd"),
        (b"070707" + GOOD[6:], "no header of newc"),
        (GOOD[:50], "no header of newc"),
        (GOOD[:113], "reaches past its end"),
        (GOOD[:30] + b" " + GOOD[31:], "not hexadecimal"),
        (GOOD[:30] + b"x" + GOOD[31:], "not hexadecimal"),
        (GOOD.replace(b"a\0", b"ab"), "does not end with its NUL"),
        (entry(b"../a") + TRAILER, "no path of an entry"),
        (entry(b"x/a") + TRAILER, "/x/a comes before its folder"),
        (entry(b"a") + entry(b"a/b") + TRAILER, "/a/b comes before its folder"),
        (entry(b"d", mode=DIR) + entry(b"d/a") + entry(b"d") + TRAILER, "goes over a directory"),
        (entry(b".") + TRAILER, "its root is not a directory"),
        (entry(b"a", mode=0o170644) + TRAILER, "unknown mode 170644"),
        (entry(b"l", mode=LNK) + TRAILER, "a target of 0 bytes"),
        (gzip.compress(GOOD, mtime=0)[:-9], "cut short"),
        (gzip.compress(GOOD, mtime=0)[:-5] + b"\0\0\0\0\0", "damaged"),
        (gzip.compress(GOOD[:100], mtime=0), "no header of newc"),
        (b"\x28\xb5\x2f\xfd\x00", "cut short"),
        (b"\x28\xb5\x2f\xfd\xff" + bytes(20), "damaged"),
        (b"\xfd7zXZ\0", "compressed with xz"),
    ],
)
def test_damaged_archives_are_told(tmp_path, data, message):
    with pytest.raises(BuildError, match=message) as caught:
        read(tmp_path, data)
    assert str(tmp_path / "archive") in caught.value.message


def test_what_is_not_there(tmp_path):
    with pytest.raises(BuildError, match=r"^can't read .*: No such file"):
        Cpio.read_tree(tmp_path / "none")


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (GOOD, True),
        (bytes(512) + GOOD, True),
        (gzip.compress(GOOD, mtime=0), True),
        (gzip.compress(b"text" * 100, mtime=0), False),
        (b"\x1f\x8b", False),
        (b"\x28\xb5\x2f\xfd", False),
        (b"hsqs", False),
        (b"", False),
    ],
)
def test_recognizes(head, known):
    assert Cpio.recognizes(head) is known


def test_the_pieces_of_a_file_point_into_the_archive(pack):
    """Nothing is copied into memory to list an archive."""
    root = Directory(0o755, mtime=EPOCH)
    root.entries = {b"a": File(Content.of(b"1" * 100_000), 0o644), b"b": File(EMPTY, 0o644)}
    tree = Cpio.read_tree(pack(Tree(root), compression="none"))
    (piece,) = tree.root.entries[b"a"].content.pieces  # type: ignore[attr-defined]
    assert piece.source.size > 100_000
