"""The boundaries of the format: the largest that fits, and the error for what does not."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.output import ArtifactFile
from fledge.progress import Progress
from fledge.testing.large_files import assert_marked, assert_sparse, marked, scattered
from fledge.testing.oracles import mounted, need_tool, run
from fledge.testing.trees import data, differences, sparse, tree_with
from fledge.tree.content import EMPTY, Content, FileSource
from fledge.tree.inode import Directory, File, Symlink
from fledge_fs_ext4 import geometry
from fledge_fs_ext4.reader import read_tree
from fledge_fs_ext4.survey import survey
from fledge_fs_ext4.writer import Writer

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]

MIB = 1 << 20
GIB = 1 << 30
BLOCK = 4096


def sha256_of(content: Content) -> str:
    digest = hashlib.sha256()
    for chunk in content.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def test_case_074_a_name_of_255_bytes(pack: Pack, fsck: Fsck) -> None:
    tree = tree_with({b"n" * 255: File(EMPTY, 0o644), b"\xff" * 255: Directory(0o755), b"x": Symlink(b"n" * 255)})
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


def test_case_074_a_name_of_256_bytes_is_an_error(pack: Pack) -> None:
    tree = tree_with({b"folder": Directory(0o755)})
    folder = tree.root.entries[b"folder"]
    assert isinstance(folder, Directory)
    folder.entries[b"n" * 256] = File(EMPTY, 0o644)
    with pytest.raises(BuildError, match=r"^/folder: the name n{256} has 256 bytes; ext4 holds 255$"):
        pack(tree)


@pytest.mark.parametrize("length", [1, 59, 60, 61, 300, 4095], ids=lambda n: f"case_075-{n}")
def test_symlinks(pack: Pack, fsck: Fsck, length: int) -> None:
    tree = tree_with({b"link": Symlink((b"0123456789/" * 400)[:length], uid=1, mtime=5)})
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


def test_case_076_65_000_links_and_no_more(pack: Pack, fsck: Fsck) -> None:
    file = File(Content.of(b"shared"), 0o644)
    tree = tree_with({b"name-%d" % i: file for i in range(65_000)})
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert (folder / "name-7").stat().st_nlink == 65_000
        assert len({entry.inode() for entry in os.scandir(folder)}) == 1
    tree.root.entries[b"zz-one-more"] = file
    with pytest.raises(BuildError, match=r"^/name-0 has 65001 hard links; ext4 holds 65000$"):
        pack(tree)


@pytest.mark.parametrize(
    ("count", "links"),
    [(64_997, 64_999), (65_000, 1)],
    ids=["case_077-all_counted", "case_077-65000"],
)
def test_subfolders(pack: Pack, fsck: Fsck, count: int, links: int) -> None:
    image = pack(tree_with({b"folder-%d" % i: Directory(0o755) for i in range(count)}), size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4", writable=True) as folder:
        assert folder.stat().st_nlink == links
        assert len(os.listdir(folder)) == count
        (folder / "folder-77" / "below").mkdir()
        (folder / "one-more").mkdir()
    fsck(image)


def test_case_078_a_folder_of_100_000_entries(pack: Pack, fsck: Fsck) -> None:
    names = {b"entry-%d" % i for i in range(100_000)}
    tree = tree_with({b"big": Directory(0o755)})
    big = tree.root.entries[b"big"]
    assert isinstance(big, Directory)
    big.entries = {name: File(EMPTY, 0o644) for name in sorted(names, reverse=True)}
    image = pack(tree)
    fsck(image)
    assert "Indirect levels: 0" in run(need_tool("debugfs", "e2fsprogs"), "-R", "htree_dump /big", image).stdout
    with mounted(image, "ext4", writable=True) as folder:
        top = os.fsencode(folder / "big")
        assert set(os.listdir(top)) == names
        for name in names:
            # Each is found through the index: the kernel hashes the name on its own.
            os.lstat(top + b"/" + name)
        assert os.statvfs(folder).f_bavail * BLOCK <= 68 * MIB
        for i in range(3000):
            (folder / "big" / f"added-{i}").touch()
    fsck(image)
    read = read_tree(image).root.entries[b"big"]
    assert isinstance(read, Directory)
    assert read.entries.keys() > names


def test_an_index_of_two_levels(pack: Pack, fsck: Fsck) -> None:
    # 15 names of 250 bytes fill a leaf, and a root reaches 507 of them.
    file = File(EMPTY, 0o644)
    names = [b"%06d" % i + b"n" * 244 for i in range(507 * 15 + 500)]
    tree = tree_with(dict.fromkeys(names, file))
    image = pack(tree)
    fsck(image)
    dump = run(need_tool("debugfs", "e2fsprogs"), "-R", "htree_dump /", image).stdout
    assert "Indirect levels: 1" in dump
    with mounted(image, "ext4") as folder:
        for name in names:
            os.lstat(os.fsencode(folder) + b"/" + name)
        assert len(os.listdir(folder)) == len(names)


def test_case_079_xattrs_beyond_inode_and_block_are_an_error(pack: Pack, fsck: Fsck) -> None:
    # 16 bytes of entry, the name without its prefix padded to 4, the value padded to 4.
    fits = {b"user.a": bytes(88 - 20), b"user.b": data(4060 - 20)}
    tree = tree_with({b"f": File(EMPTY, 0o644, xattrs=fits)})
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []
    tree.root.entries[b"f"].xattrs = {**fits, b"user.b": data(4060 - 20 + 1)}
    with pytest.raises(BuildError, match=r"^/f: extended attributes take 4064 bytes \('user\.b' alone 4064\)"):
        pack(tree)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097], ids=lambda n: f"case_080-{n}")
def test_sizes_around_a_block(pack: Pack, fsck: Fsck, size: int) -> None:
    tree = tree_with({b"f": File(Content.of(data(size)), 0o644), b"g": File(Content.of(b"behind"), 0o644)})
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []
        assert (folder / "f").stat().st_blocks == -(-size // BLOCK) * 8


def test_case_080_case_087_600_mib_across_block_groups(pack: Pack, fsck: Fsck) -> None:
    # The marks stand where the extents meet: at 128 MiB of the file, and around the backups in groups 1 and 3.
    marks = (0, 60 * MIB + 5, 127 * MIB + 100, 300 * MIB, 400 * MIB + 1, 599 * MIB)
    content = marked(600 * MIB, marks)
    assert not content.is_sparse
    tree = tree_with({b"a": File(Content.of(b"before"), 0o644), b"big": File(content, 0o644)})
    tree.root.entries[b"c"] = File(Content.of(b"behind"), 0o644)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert_marked(folder / "big", 600 * MIB, marks)
        assert (folder / "c").read_bytes() == b"behind"


@pytest.mark.parametrize("size", [GIB, 5 * GIB + 3, 16 * (1 << 40) - 2 * BLOCK], ids=lambda n: f"case_080-sparse-{n}")
def test_sparse_files_keep_their_holes(pack: Pack, fsck: Fsck, size: int) -> None:
    pieces = [*scattered(size, 690), (size - 2, b"zz")]
    tree = tree_with({b"sparse": File(sparse(size, *pieces), 0o644)})
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    assert image.stat().st_blocks * 512 < 24 * MIB
    with mounted(image, "ext4") as folder:
        assert_sparse(folder / "sparse", size, pieces, 24 * MIB)
    read = read_tree(image).root.entries[b"sparse"]
    assert isinstance(read, File)
    assert read.content.is_sparse


def test_a_file_that_is_too_large_is_an_error(pack: Pack) -> None:
    tree = tree_with({b"f": File(sparse(16 * (1 << 40), (5, b"x")), 0o644)})
    with pytest.raises(BuildError, match=r"^/f has 17592186044416 bytes; an ext4 file holds 17592186040320$"):
        pack(tree)


def test_more_blocks_than_there_can_be_are_an_error(pack: Pack) -> None:
    with pytest.raises(BuildError, match=r"^the ext4 image would have \d+ bytes; at most 17592186040320 are possible$"):
        pack(tree_with({}), size_buffer_mb=16 * MIB)


@pytest.mark.parametrize("gib", [17, 70], ids=lambda gib: f"case_087-{gib}")
def test_over_16_gib_sparse(tmp_path: Path, fsck: Fsck, gib: int) -> None:
    # Not through the driver: the checksum of so many zeros takes ten seconds and more. The journal of 70 GiB has
    # extents in a block of their own.
    tree = tree_with({b"f%d" % i: File(Content.of(data(5000, i)), 0o644) for i in range(100)})
    found = survey(tree)
    content = found.metadata_blocks + found.data_blocks
    shape = geometry.plan(content, found.inode_count + 100_000, gib * GIB // BLOCK, journal=True)
    target = ArtifactFile(tmp_path / "large.img")
    Writer(target, found, shape, 0, Progress()).write()
    os.ftruncate(target.fileno(), shape.blocks * BLOCK)
    target.commit()
    fsck(target.path)
    with mounted(target.path, "ext4", writable=True) as folder:
        assert differences(tree, folder) == []
        assert os.statvfs(folder).f_bavail * BLOCK >= gib * GIB
        (folder / "new").write_bytes(b"n" * MIB)
    fsck(target.path)


@pytest.mark.parametrize("data_mib", [130, 390])
def test_case_087_contents_around_the_backups_of_the_superblock(
    tmp_path: Path, pack: Pack, fsck: Fsck, data_mib: int
) -> None:
    # Many files: the extents of one of them, and the blocks of folders, are split around each backup.
    blob = tmp_path / "blob"
    blob.write_bytes(b"")
    os.truncate(blob, data_mib * MIB)
    with open(blob, "r+b") as file:
        for at in range(0, data_mib * MIB, 64 * 1024):
            file.seek(at)
            file.write(b"mark at %d" % at)
    source = FileSource(blob)
    size = 333_333
    tree = tree_with({})
    for i in range(data_mib * MIB // size):
        tree.root.entries[b"f%d" % i] = File(Content.whole(source, i * size, size), 0o644)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


def test_xattr_errors_name_the_path(pack: Pack) -> None:
    tree = tree_with({b"f": File(EMPTY, 0o644, xattrs={b"system.nfs4_acl": b"x"})})
    with pytest.raises(BuildError, match=re.escape("/f: extended attribute 'system.nfs4_acl' is of no kind that ext4")):
        pack(tree)
