"""Archives as GNU cpio, bsdtar, gzip and zstd see them."""

from __future__ import annotations

import gzip
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from fledge.testing.oracles import need_root, need_tool, run
from fledge.testing.trees import EPOCH, SECOND, data, differences, hard_tree, sparse
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import show_path


def tree_of(**entries: Inode) -> Tree:
    root = Directory(0o755, mtime=EPOCH)
    root.entries = {name.encode(): inode for name, inode in entries.items()}
    return Tree(root, EPOCH)


def file(content: bytes | Content = b"", **attributes: object) -> File:
    return File(Content.of(content) if isinstance(content, bytes) else content, 0o644, **attributes)


def newc_tree() -> Tree:
    """Everything but what newc can't hold: the xattrs, and one inode for two symlinks (readers make two of them)."""
    tree = hard_tree(nanoseconds=False)
    del tree.root.entries[b"xattrs"]
    links = tree.root.entries[b"links"]
    assert isinstance(links, Directory)
    del links.entries[b"linked-symlink2"]
    return tree


def cat(archive: Path) -> list[str]:
    return {".gz": ["gzip", "-cd"], ".zst": ["zstd", "-cdq"], ".cpio": ["cat"]}[archive.suffix]


def extract(archive: Path, folder: Path, *tool: str) -> list[str]:
    """Extracts with a tool that reads stdin; what it complains of."""
    folder.mkdir()
    with subprocess.Popen([*cat(archive), archive], stdout=subprocess.PIPE) as process:
        done = subprocess.run(
            tool, cwd=folder, stdin=process.stdout, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
        assert process.wait() == 0
    assert done.returncode == 0, done.stderr
    return done.stderr.decode(errors="replace").splitlines()


def told(tree: Tree, folder: Path, *, all_times: bool = False) -> list[str]:
    """The differences but for what these tools leave undone.

    The folder itself is written into after its own entry came. GNU cpio sets no times of directories and symlinks
    (`all_times`: the tool does), bsdtar makes no sockets.
    """
    timeless = {show_path(path) for path, inode in tree.walk() if isinstance(inode, Directory | Symlink)}
    found = differences(tree, folder, whole_seconds=True)
    ignored = {"/"} if all_times else timeless
    return [line for line in found if not (line.partition(": mtime")[0] in ignored and ": mtime: " in line)]


CPIO = ("cpio", "-idum", "--quiet", "--no-absolute-filenames")
BSDTAR = ("bsdtar", "-xpf", "-", "--numeric-owner")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression_level": 1},
        {"compression": "zstd", "compression_level": 1},
        {"compression": "zstd", "compression_level": 22},
        {"compression": "none"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "default",
)
def test_gnu_cpio_extracts_the_tree_that_was_packed(pack, tmp_path, options):
    need_root()
    need_tool("cpio")
    tree = newc_tree()
    assert extract(pack(tree, **options), tmp_path / "out", *CPIO) == []
    assert told(tree, tmp_path / "out") == []


def test_bsdtar_extracts_the_tree_that_was_packed(pack, tmp_path):
    need_root()
    need_tool("bsdtar", "libarchive-tools")
    tree = newc_tree()
    extract(pack(tree), tmp_path / "out", *BSDTAR)
    socket = "/special/socket: type: 49152 is 32768 there"
    assert [line for line in told(tree, tmp_path / "out", all_times=True) if line != socket] == []


def damage(archive: Path, old: bytes, new: bytes) -> Path:
    raw = archive.read_bytes()
    assert raw.count(old) == 1
    archive.write_bytes(raw.replace(old, new))
    return archive


@pytest.mark.parametrize(
    ("old", "new"), [(b"a distinct content", b"another content..."), (b"000001A4000004D2", b"000001A4000004D3")]
)
def test_the_oracles_see_a_broken_archive(pack, tmp_path, old, new):
    need_root()
    tree = tree_of(f=file(b"a distinct content", uid=0x1A4, gid=1234))
    archive = damage(pack(tree, compression="none"), old, new)
    extract(archive, tmp_path / "out", *CPIO)
    assert told(tree, tmp_path / "out") != []


def listing(archive: Path) -> list[str]:
    with subprocess.Popen([*cat(archive), archive], stdout=subprocess.PIPE) as process:
        done = subprocess.run(["cpio", "-itv", "--quiet"], stdin=process.stdout, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def test_case_082_the_last_name_of_a_hard_link_has_the_content(pack):
    need_tool("cpio")
    shared = file(b"12345", mtime=EPOCH)
    lines = listing(pack(tree_of(a=shared, b=shared, c=shared, d=file(b"1"))))
    rows = [line.split() for line in lines]
    assert [(row[-1], row[1], row[4]) for row in rows] == [
        (".", "2", "0"),
        ("a", "3", "0"),
        ("b", "3", "0"),
        ("c", "3", "5"),
        ("d", "1", "1"),
    ]


def test_a_file_named_like_the_trailer_does_not_end_the_archive(pack, tmp_path):
    need_tool("cpio")
    tree = tree_of(**{"TRAILER!!!": file(b"1"), "folder": Directory(0o755, mtime=EPOCH), "z": file(b"2")})
    assert extract(pack(tree), tmp_path / "out", *CPIO) == []
    assert told(tree, tmp_path / "out") == []


def test_times_are_clamped_and_cut_to_seconds(pack, tmp_path):
    need_tool("cpio")
    moments = {"a": -5 * SECOND, "b": 1, "c": 2**33 * SECOND, "d": 5 * SECOND + 999_999_999}
    tree = tree_of(**{name: file(mtime=moment) for name, moment in moments.items()})
    extract(pack(tree), tmp_path / "out", *CPIO)
    found = {name: (tmp_path / "out" / name).stat().st_mtime for name in moments}
    assert found == {"a": 0, "b": 0, "c": 2**32 - 1, "d": 5}


def test_blocks_join_into_one_gzip_member(pack):
    need_tool("gzip")
    text = b"".join(b"line %d of a text that compresses\n" % i for i in range(200_000))
    tree = tree_of(a=file(text), b=file(data(3_000_000)), c=file(sparse(5_000_000, (70_000, b"x"))))
    archive = pack(tree)
    run("gzip", "-t", archive)
    raw = archive.read_bytes()
    assert raw[3:8] == bytes(5), "flags and time"
    one = zlib.decompressobj(31)
    plain = one.decompress(raw)
    assert one.eof
    assert one.unused_data == b""
    assert plain == pack(tree, compression="none").read_bytes() == gzip.decompress(raw)


def test_zstd_makes_one_frame_that_says_its_size(pack):
    need_tool("zstd")
    tree = tree_of(a=file(data(3_000_000)), b=Symlink(b"a", mtime=EPOCH))
    archive = pack(tree, compression="zstd")
    said = run("zstd", "-lv", archive).stdout
    assert "Number of Frames: 1" in said or "# Zstandard Frames: 1" in said
    size = pack(tree, compression="none").stat().st_size
    assert f"({size} B)" in said
    assert "XXH64" in said


def test_the_size_is_near_that_of_gzip_at_its_best(pack, tmp_path):
    """Over a real tree: the standard library of this Python."""
    root = Directory(0o755)
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        root.entries[path.name.encode()] = file(path.read_bytes(), mtime=EPOCH)
    tree = Tree(root)
    plain = pack(tree, compression="none")
    theirs = len(subprocess.run(["gzip", "-n", "-9c", plain], capture_output=True, check=True).stdout)
    assert pack(tree).stat().st_size < theirs * 1.01
