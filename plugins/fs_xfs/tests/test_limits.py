"""The boundaries of the format: the largest that fits, and the error for what does not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.output import ArtifactFile
from fledge.progress import Progress
from fledge.testing.conformance import packing
from fledge.testing.large_files import assert_marked, assert_sparse, marked, scattered
from fledge.testing.oracles import mounted, need_tool, run
from fledge.testing.trees import MINIMAL_ACL, acl, data, differences, folder_with, sparse, tree_with
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import CharDevice, Directory, Fifo, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge_fs_xfs import geometry
from fledge_fs_xfs.reader import read_tree
from fledge_fs_xfs.survey import survey
from fledge_fs_xfs.writer import Writer

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]
Shown = Callable[[Tree], Tree]

MIB = 1 << 20
GIB = 1 << 30
BLOCK = 4096
LITERAL = 336
"""Bytes that an inode has for its forks."""


def details(image: Path, path: str, *fields: str) -> dict[str, str]:
    """What xfs_db says of an inode's fields."""
    done = run(need_tool("xfs_db", "xfsprogs"), "-r", "-c", f"path {path}", "-c", f"p {' '.join(fields)}", image)
    return dict(line.split(" = ", 1) for line in done.stdout.splitlines() if " = " in line)


def test_case_074_a_name_of_255_bytes(pack: Pack, fsck: Fsck) -> None:
    tree = tree_with({b"n" * 255: File(EMPTY, 0o644), b"\xff" * 255: Directory(0o755), b"x": Symlink(b"n" * 255)})
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []


def test_case_074_a_name_of_256_bytes_is_an_error(pack: Pack) -> None:
    tree = tree_with({b"folder": folder_with({b"n" * 256: File(EMPTY, 0o644)})})
    with pytest.raises(BuildError, match=r"^/folder: the name n{256} has 256 bytes; xfs holds 255$"):
        pack(tree)


def test_case_075_symlinks_inside_and_outside_the_inode(pack: Pack, fsck: Fsck) -> None:
    entries: dict[bytes, Inode] = {}
    for length in (1, 59, 60, 61, 135, 136, 137, 300, 335, LITERAL, 337, 1023):
        target = (b"0123456789/" * 400)[:length]
        entries[b"%d" % length] = Symlink(target, uid=1, mtime=5)
        for size in (0, 4, 30, 200, 300, 5000):
            entries[b"%d-%d" % (length, size)] = Symlink(target, xattrs={b"trusted.t": data(size)})
    tree = tree_with(entries)
    image = pack(tree)
    fsck(image)
    assert details(image, "/336", "core.format")["core.format"] == "1 (local)"
    assert details(image, "/337", "core.format")["core.format"] == "2 (extents)"
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []


def test_case_075_a_symlink_of_4095_bytes_is_an_error(pack: Pack) -> None:
    with pytest.raises(BuildError, match=r"^/link points to 4095 bytes; an xfs symlink holds 1023$"):
        pack(tree_with({b"link": Symlink(b"t" * 4095)}))


def test_the_kernel_makes_no_longer_symlinks_either(pack: Pack) -> None:
    with mounted(pack(tree_with({})), "xfs", writable=True) as folder:
        os.symlink(b"t" * 1023, folder / "fits")
        with pytest.raises(OSError, match="File name too long"):
            os.symlink(b"t" * 1024, folder / "longer")


def test_case_086_hard_links(pack: Pack, fsck: Fsck) -> None:
    # 70,000: more than a count of 16 bits, which XFS had once, can hold.
    file, link, pipe = File(Content.of(b"shared"), 0o644), Symlink(b"name-7"), Fifo(0o600)
    tree = tree_with({b"name-%d" % i: file for i in range(70_000)})
    tree.root.entries[b"below"] = folder_with({b"file": file, b"link": link, b"pipe": pipe})
    tree.root.entries |= {b"link": link, b"pipe": pipe}
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert (folder / "below" / "file").stat().st_nlink == 70_001
        assert (folder / "link").lstat().st_nlink == 2
        assert (folder / "pipe").lstat().st_ino == (folder / "below" / "pipe").lstat().st_ino
        assert len({entry.inode() for entry in os.scandir(folder) if entry.name.startswith("name")}) == 1


def test_case_077_65_000_subfolders(pack: Pack, fsck: Fsck) -> None:
    image = pack(tree_with({b"folder-%d" % i: Directory(0o755) for i in range(65_000)}))
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        assert folder.stat().st_nlink == 65_002
        assert len(os.listdir(folder)) == 65_000
        (folder / "folder-77" / "below").mkdir()
        (folder / "one-more").mkdir()
    fsck(image)


def test_case_078_a_folder_of_100_000_entries(pack: Pack, fsck: Fsck) -> None:
    names = {b"entry-%d" % i for i in range(99_000)} | {b"\xff\x80%d\xc3\xa9" % i for i in range(1000)}
    tree = tree_with({b"big": folder_with({name: File(EMPTY, 0o644) for name in sorted(names, reverse=True)})})
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        top = os.fsencode(folder / "big")
        assert set(os.listdir(top)) == names
        for name in names:
            # Each is found through the index: the kernel hashes the name on its own.
            os.lstat(top + b"/" + name)
        for i in range(3000):
            (folder / "big" / f"added-{i}").touch()
    fsck(image)
    read = read_tree(image).root.entries[b"big"]
    assert isinstance(read, Directory)
    assert read.entries.keys() > names


@pytest.mark.parametrize(
    ("count", "length", "form"),
    [
        # 6 bytes, and 8 beside each name.
        (0, 1, "local"),
        (1, 255, "local"),
        (22, 7, "local"),
        (23, 7, "extents 1"),
        # 96 bytes with `.` and `..`, their two and each entry's place in the index, and a tail of 8.
        (99, 20, "extents 1"),
        (100, 20, "extents 2"),
        # 64 bytes, 8 for each entry with `.` and `..`, 2 for each block, 4.
        (501, 4, "extents 2"),
        (502, 4, "extents 3"),
        (495, 255, "extents 3"),
        (505, 4, "extents 3"),
        (3000, 4, "extents 3"),
        (29_000, 250, "extents 3"),
    ],
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_folders_of_every_form(pack: Pack, fsck: Fsck, count: int, length: int, form: str) -> None:
    file = File(EMPTY, 0o644)
    tree = tree_with({b"d": folder_with({(b"%d" % i).rjust(length, b"n"): file for i in range(count)})})
    image = pack(tree)
    fsck(image)
    fields = details(image, "/d", "core.format", "core.nextents")
    assert form == fields["core.format"].split("(")[1].rstrip(")") + (
        f" {fields['core.nextents']}" if fields["core.nextents"] != "0" else ""
    )
    with mounted(image, "xfs", writable=True) as folder:
        assert differences(tree, folder) == []
        for i in range(30):
            (folder / "d" / f"added-{i}-{'y' * i}").touch()
        for i in range(0, count, 2):
            os.unlink(folder / "d" / str(i).rjust(length, "n"))
    fsck(image)


def test_an_index_of_two_levels_of_nodes(pack: Pack, fsck: Fsck) -> None:
    # 504 entries fill a leaf, and 504 leaves a node.
    file = File(EMPTY, 0o644)
    names = [b"%x" % i for i in range(504 * 504 + 300)]
    image = pack(tree_with(dict.fromkeys(names, file)))
    fsck(image)
    root = run(
        *(need_tool("xfs_db", "xfsprogs"), "-r", "-c", "path /", "-c", "dblock 8388608", "-c", "p nhdr.level", image)
    )
    assert root.stdout == "nhdr.level = 2\n"
    with mounted(image, "xfs", writable=True) as folder:
        top = os.fsencode(folder) + b"/"
        for name in names[::7]:
            os.lstat(top + name)
        assert len(os.listdir(folder)) == len(names)
        for name in names[:2000]:
            os.rename(top + name, top + name + b"-renamed")
    fsck(image)


def test_xattr_values(pack: Pack, fsck: Fsck) -> None:
    # In the inode, in a leaf, and from 3072 bytes with its name on in blocks of its own.
    entries: dict[bytes, Inode] = {}
    for size in (0, 1, 254, 255, 256, 3050, 3064, 3065, 3066, 3067, 3068, 3069, 4040, 4041, 9000, 65_535, 65_536):
        attribute = {b"user.x": data(size), b"trusted.second": b"s"}
        entries[b"file-%d" % size] = File(Content.of(b"content"), 0o644, xattrs=attribute)
        entries[b"folder-%d" % size] = folder_with({b"a": File(EMPTY, 0o644)}, attribute)
        entries[b"device-%d" % size] = CharDevice(1, 3, 0o600, xattrs={b"trusted.x": data(size)})
    tree = tree_with(entries)
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []


@pytest.mark.parametrize("count", [1, 5, 30, 120, 300, 2000])
def test_many_xattrs(pack: Pack, fsck: Fsck, count: int) -> None:
    # listxattr(2) gives no more than 64 KiB of names.
    attributes = {b"user.name-%d" % i: b"%d" % i * (i % 60) for i in range(count)}
    tree = tree_with(
        {
            b"file": File(Content.of(b"content"), 0o644, xattrs=attributes),
            b"folder": folder_with({b"%d" % i: File(EMPTY, 0o644) for i in range(20)}, attributes),
        }
    )
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        assert differences(tree, folder) == []
        for i in range(0, count, 3):
            os.removexattr(folder / "file", f"user.name-{i}")
            os.setxattr(folder / "folder", f"user.name-{i}", b"another" * 20)
    fsck(image)


def test_the_extents_of_attributes_may_need_a_block() -> None:
    # A symlink of 290 bytes leaves the attributes room for two extents. 11 MiB of them may go around a log.
    values = {b"trusted.%d" % i: bytes(65_536) for i in range(175)}
    found = survey(tree_with({b"link": Symlink(b"t" * 290, xattrs=values)}))
    assert found.metadata_blocks == 175 * 17 + 3 + 1


def test_inodes_that_are_shared_by_entries_and_xattrs(pack: Pack, fsck: Fsck) -> None:
    sizes, counts = (0, 10, 30, 31, 38, 39, 100, 170, 230, 255), (0, 2, 8, 11, 12, 15, 16, 18, 19, 30)
    tree = tree_with({})
    for size, count in product(sizes, counts):
        entries: dict[bytes, Inode] = {b"entry-%d" % i: File(EMPTY, 0o644) for i in range(count)}
        tree.root.entries[b"%d-%d" % (size, count)] = folder_with(entries, {b"user.a": data(size)})
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs", writable=True) as top:
        assert differences(tree, top) == []
        for folder in top.iterdir():
            for i in range(0, 40, 4):
                (folder / f"more-{i}").touch()
                os.setxattr(folder, f"user.more-{i}", b"m" * i)
    fsck(image)


MANY = acl((1, 7, 0xFFFFFFFF), *[(2, i % 8, i) for i in range(400)], *[(n, 5, 0xFFFFFFFF) for n in (4, 16, 32)])


@pytest.mark.parametrize(
    "attributes",
    [
        {b"system.posix_acl_access": MINIMAL_ACL},
        {b"system.posix_acl_access": MANY},
        {b"system.posix_acl_access": MINIMAL_ACL, b"system.posix_acl_default": MANY, b"user.x": b"1"},
        {b"user." + b"n" * 250: b"v" * 100, b"security.ima": bytes(33), b"user.\xff\n": b"\0\n\xff"},
    ],
)
def test_the_kernel_shows_xattrs_as_they_were(
    pack: Pack, fsck: Fsck, shown: Shown, attributes: dict[bytes, bytes]
) -> None:
    def tree() -> Tree:
        tree = tree_with({b"folder": Directory(0o750, xattrs=attributes)})
        if b"system.posix_acl_default" not in attributes:
            tree.root.entries[b"file"] = File(EMPTY, 0o640, xattrs=attributes)
        return tree

    image = pack(tree())
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(shown(tree()), folder) == []


def test_an_acl_under_both_of_its_names_is_one(tmp_path: Path, shown: Shown) -> None:
    # Whoever copies all attributes of an XFS as root has them so.
    tree = shown(tree_with({b"f": File(EMPTY, 0o640, xattrs={b"system.posix_acl_access": MINIMAL_ACL})}))
    assert len(tree.root.entries[b"f"].xattrs) == 2
    packed = packing.pack("xfs", {}, tree, tmp_path, hashed=False)
    assert read_tree(packed.path).root.entries[b"f"].xattrs == {b"system.posix_acl_access": MINIMAL_ACL}
    assert packed.differences == []


def test_an_acl_has_no_ids_where_it_names_nobody(tmp_path: Path) -> None:
    value = acl((1, 6, 0), (2, 4, 1000), (4, 4, 0), (16, 4, 7), (32, 0, 0))
    tree = tree_with({b"f": File(EMPTY, 0o640, xattrs={b"system.posix_acl_access": value})})
    packed = packing.pack("xfs", {}, tree, tmp_path, hashed=False)
    assert packed.differences == []
    with mounted(packed.path, "xfs") as folder:
        assert os.getxattr(folder / "f", "system.posix_acl_access") == MINIMAL_ACL


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (b"user.", b"", "is of no kind that xfs holds"),
        (b"system.nfs4_acl", b"", "is of no kind that xfs holds"),
        (b"user." + b"n" * 251, b"", "has a name of 256 bytes; at most 255"),
        (b"user.x", bytes(65_537), "has 65537 bytes; xfs holds 65536"),
        (b"system.posix_acl_access", MINIMAL_ACL[:-1], "not a POSIX ACL of version 2"),
        (b"system.posix_acl_access", acl((3, 7, 0)), "of the unknown kind 0x3"),
        (b"system.posix_acl_access", acl(*[(2, 7, i) for i in range(5462)]), "has 65548 bytes; xfs holds 65536"),
        (b"trusted.SGI_ACL_FILE", b"\0\0\0\0", "is what xfs keeps system.posix_acl_access in"),
    ],
    ids=lambda value: f"case_079-{value[:30]!r}" if isinstance(value, str) else "",
)
def test_what_xattrs_can_not_be(pack: Pack, name: bytes, value: bytes, message: str) -> None:
    tree = tree_with({b"f": File(EMPTY, 0o644, xattrs={name: value})})
    with pytest.raises(BuildError, match=f"^/f: extended attribute .*{re.escape(message)}"):
        pack(tree)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097], ids=lambda n: f"case_080-{n}")
def test_sizes_around_a_block(pack: Pack, fsck: Fsck, size: int) -> None:
    tree = tree_with({b"f": File(Content.of(data(size)), 0o644), b"g": File(Content.of(b"behind"), 0o644)})
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []
        assert (folder / "f").stat().st_blocks == -(-size // BLOCK) * 8


def test_case_080_600_mib_across_allocation_groups(pack: Pack, fsck: Fsck) -> None:
    # 600 MiB reach into the fourth group, around the log in the third one.
    marks = (0, 60 * MIB + 5, 190 * MIB + 100, 300 * MIB, 400 * MIB + 1, 599 * MIB)
    content = marked(600 * MIB, marks)
    assert not content.is_sparse
    tree = tree_with({b"a": File(Content.of(b"before"), 0o644), b"big": File(content, 0o644)})
    tree.root.entries[b"c"] = File(Content.of(b"behind"), 0o644)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    assert int(details(image, "/big", "core.nextents")["core.nextents"]) == 4
    with mounted(image, "xfs") as folder:
        assert_marked(folder / "big", 600 * MIB, marks)
        assert (folder / "c").read_bytes() == b"behind"


LARGEST = (1 << 63) - 1


@pytest.mark.parametrize(
    ("size", "pieces", "levels"),
    [
        (GIB, 1, None),
        (GIB, 20, None),
        (GIB, 21, None),
        (GIB, 22, "1"),
        (5 * GIB + 3, 690, "1"),
        (GIB, 5020, "1"),
        (GIB, 6000, "2"),
        (LARGEST, 690, "1"),
    ],
    ids=lambda value: f"case_080-sparse-{value}",
)
@pytest.mark.parametrize("xattrs", [{}, {b"user.a": bytes(200)}], ids=["whole", "shared"])
def test_sparse_files_keep_their_holes(
    pack: Pack, fsck: Fsck, size: int, pieces: int, levels: str | None, xattrs: dict[bytes, bytes]
) -> None:
    step = size // (pieces + 1)
    parts = scattered(size, pieces)
    tree = tree_with({b"sparse": File(sparse(size, *parts), 0o644, xattrs=xattrs)})
    image = pack(tree)
    fsck(image)
    if levels is not None:
        assert details(image, "/sparse", "u3.bmbt.level")["u3.bmbt.level"] >= levels
    elif not xattrs:
        assert details(image, "/sparse", "core.format")["core.format"] == "2 (extents)"
    assert image.stat().st_blocks * 512 < 75 * MIB
    with mounted(image, "xfs", writable=True) as folder, open(folder / "sparse", "r+b") as file:
        assert_sparse(folder / "sparse", size, parts, 75 * MIB)
        for i in range(0, pieces, 50):
            os.pwrite(file.fileno(), b"new", i * step + step // 2)
    fsck(image)
    read = read_tree(image).root.entries[b"sparse"]
    assert isinstance(read, File)
    assert read.content.is_sparse


def test_a_file_that_is_too_large_is_an_error(pack: Pack) -> None:
    tree = tree_with({b"f": File(sparse(1 << 63, (5, b"x")), 0o644)})
    with pytest.raises(BuildError, match=r"^/f has 9223372036854775808 bytes; an xfs file holds 9223372036854775807$"):
        pack(tree)


@pytest.mark.parametrize("mb", [1 << 32, 10**15])
def test_more_blocks_than_there_can_be_are_an_error(pack: Pack, mb: int) -> None:
    message = r"^the xfs image would have \d+ bytes; at most 4503599627370496 are possible$"
    with pytest.raises(BuildError, match=message) as caught:
        pack(tree_with({}), size_buffer_mb=mb)
    assert caught.value.hint == "lower [filesystem] size_buffer_mb"


@pytest.mark.parametrize(("gib", "groups"), [(100, 4), (300, 4), (9 * 1024, 10)])
def test_large_filesystems(tmp_path: Path, fsck: Fsck, gib: int, groups: int) -> None:
    # Not through the driver: the checksum of so many zeros takes long.
    tree = tree_with({b"f%d" % i: File(Content.of(data(5000, i)), 0o644) for i in range(100)})
    found = survey(tree)
    shape = geometry.plan(found.inode_count, found.metadata_blocks + found.data_blocks, gib * GIB // BLOCK)
    assert shape.groups == groups
    target = ArtifactFile(tmp_path / "large.img")
    Writer(target, found, shape, Progress()).write()
    os.ftruncate(target.fileno(), shape.blocks * BLOCK)
    target.commit()
    fsck(target.path)
    with mounted(target.path, "xfs", writable=True) as folder:
        assert differences(tree, folder) == []
        assert os.statvfs(folder).f_bavail * BLOCK >= gib * GIB
        (folder / "new").write_bytes(b"n" * MIB)
    fsck(target.path)


def test_inodes_in_more_than_one_group(pack: Pack, fsck: Fsck) -> None:
    # 150,000 inodes fill the first group of the smallest filesystem.
    tree = tree_with({})
    for i in range(160):
        names = {b"file-%d" % j: File(Content.of(b"x") if i == 159 else EMPTY, 0o644, i, j) for j in range(1000)}
        tree.root.entries[b"folder-%d" % i] = folder_with({**names})
    image = pack(tree)
    assert image.stat().st_size == 300 * MIB
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        for i in (0, 1, 100, 150, 158, 159):
            status = [(folder / f"folder-{i}" / f"file-{j}").stat() for j in range(1000)]
            assert [(each.st_uid, each.st_gid) for each in status] == [(i, j) for j in range(1000)]
        assert (folder / "folder-159" / "file-7").read_bytes() == b"x"
        for i in range(3000):
            (folder / "folder-159" / f"added-{i}").touch()
        for i in range(1000):
            (folder / "folder-158" / f"file-{i}").unlink()
    fsck(image)
