"""Whole images against xfs_repair, xfs_db, xfs_growfs and the kernel."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.kernel_writes import fill_and_rename, write_everywhere
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, SECOND, data, differences, empty_files, sparse
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import CharDevice, Directory, File, Symlink
from fledge.tree.tree import Tree
from fledge_fs_xfs.reader import read_tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]
Make = Callable[[], Tree]
Shown = Callable[[Tree], Tree]

MIB = 1 << 20
BLOCK = 4096
SMALLEST = 300 * MIB


def db(image: Path, *commands: str) -> str:
    """What xfs_db prints."""
    options = [word for command in commands for word in ("-c", command)]
    return run(need_tool("xfs_db", "xfsprogs"), "-r", *options, image).stdout


def superblock(image: Path) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in db(image, "sb 0", "p").splitlines())


def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, fsck: Fsck, hard: Make, shown: Shown) -> None:
    image = pack(hard())
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(shown(hard()), folder) == []


def test_another_tree_gives_another_uuid(pack: Pack) -> None:
    def uuid(tree: Tree) -> str:
        return superblock(pack(tree))["uuid"]

    trees = [empty_files(3), empty_files(3), empty_files(4), *(empty_files(3) for _ in range(6))]
    first = b"file-00001"
    trees[3].root.entries[first].mode = 0o600
    trees[4].root.entries[first].mtime += 1
    trees[5].root.entries[first].xattrs = {b"user.a": b"1"}
    trees[6].root.entries[first] = trees[6].root.entries[b"file-00000"]
    trees[7].root.entries[first] = CharDevice(1, 2, 0o644, mtime=EPOCH)
    trees[8].root.entries[first] = Symlink(b"a", 0o644, mtime=EPOCH)
    found = [uuid(tree) for tree in trees]
    assert found[0] == found[1]
    assert len(set(found[1:])) == len(trees) - 1
    assert all(each[14] == "8" for each in found)


@pytest.mark.parametrize(
    ("mb", "written"),
    [(1, 0), (64, 0), (219, 219), (230, 230), (1500, 0), (20_000, 0)],
)
def test_as_much_is_free_for_files_as_was_asked_for(pack: Pack, fsck: Fsck, mb: int, written: int) -> None:
    image = pack(empty_files(10), size_buffer_mb=mb)
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        status = os.statvfs(folder)
        free = status.f_bavail * status.f_frsize
        assert mb * MIB <= free
        assert image.stat().st_size == SMALLEST or free <= mb * MIB + mb * 1024 + 2 * MIB
        assert status.f_favail > free // BLOCK
        if written:
            with open(folder / "all-of-it", "wb") as file:
                file.writelines(bytes(MIB) for _ in range(written))
                os.fsync(file.fileno())
    fsck(image)


@pytest.mark.parametrize("mb", [1, 100, 218], ids=lambda mb: f"case_084-{mb}")
def test_a_small_image_is_as_large_as_the_smallest_filesystem(pack: Pack, mb: int) -> None:
    image = pack(empty_files(10), size_buffer_mb=mb)
    assert image.stat().st_size == SMALLEST
    assert image.stat().st_blocks * 512 < MIB


def test_the_image_is_sparse_unless_it_is_preallocated(pack: Pack, fsck: Fsck, hard: Make) -> None:
    plain, reserved = pack(hard(), "plain.img"), pack(hard(), "reserved.img", preallocate=True)
    assert plain.stat().st_blocks * 512 < 12 * MIB < SMALLEST == plain.stat().st_size
    assert reserved.stat().st_blocks * 512 >= reserved.stat().st_size
    assert filecmp.cmp(reserved, plain, shallow=False)
    fsck(reserved)


def test_xfs_repair_leaves_everything_where_it_is(pack: Pack, fsck: Fsck, hard: Make, shown: Shown) -> None:
    # Without -n it makes all B+trees of the groups anew.
    image = pack(hard())
    before = superblock(image)
    run(need_tool("xfs_repair", "xfsprogs"), "-f", image)
    fsck(image)
    after = superblock(image)
    # Of the quota inodes, which there are not, it writes -1 where mkfs.xfs has 0.
    quotas = {"uquotino", "gquotino", "pquotino"}
    assert {name for name in before if before[name] != after[name]} <= {"fdblocks", "crc", "lsn", *quotas}
    with mounted(image, "xfs") as folder:
        assert differences(shown(hard()), folder) == []


def test_an_empty_tree(pack: Pack, fsck: Fsck) -> None:
    tree = Tree(Directory(0o700, 1000, 1001, EPOCH + 1))
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []


FIRST, LAST = -(1 << 31) * SECOND, 16_299_260_424 * SECOND + 999_999_999


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        (-1, -1),
        (FIRST, FIRST),
        (FIRST - 1, FIRST),
        (-(1 << 80), FIRST),
        ((1 << 31) * SECOND, (1 << 31) * SECOND),
        ((1 << 32) * SECOND + 7, (1 << 32) * SECOND + 7),
        (LAST, LAST),
        (LAST + 1, LAST),
        (1 << 80, LAST),
    ],
)
def test_times_reach_from_1901_to_2486_and_are_clamped_beyond(pack: Pack, fsck: Fsck, moment: int, held: int) -> None:
    tree = empty_files(1)
    tree.root.entries[b"file-00000"].mtime = moment
    image = pack(tree)
    fsck(image)
    assert read_tree(image).root.entries[b"file-00000"].mtime == held
    with mounted(image, "xfs") as folder:
        assert (folder / "file-00000").stat().st_mtime_ns == held


def test_xfs_db_reads_it(pack: Pack, hard: Make) -> None:
    tree = hard()
    tree.root.entries[b"stamp"] = File(Content.of(b"x" * 5000), 0o4755, 100_001, 100_002, EPOCH + 5)
    image = pack(tree)
    assert db(image, "version").split(" = ")[1].strip().split(" + ")[0].split(",") == [
        *(
            "V5",
            "NLINK",
            "DIRV2",
            "ATTR",
            "ALIGN",
            "LOGV2",
            "EXTFLG",
            "MOREBITS",
            "ATTR2",
            "LAZYSBCOUNT",
            "PROJID32BIT",
        ),
        *("CRC", "FTYPE", "FINOBT", "SPARSE_INODES", "REFLINK", "INOBTCNT", "BIGTIME"),
    ]
    assert superblock(image)["rootino"] == "128"
    stamp = db(image, "path /stamp", "p core.mode core.uid core.gid core.size core.nblocks core.gen v3.crc")
    for text in ("mode = 0104755", "uid = 100001", "gid = 100002", "size = 5000", "nblocks = 2", "(correct)"):
        assert text in stamp
    times = db(image, "path /stamp", "p core.mtime.nsec core.ctime.nsec core.atime.nsec v3.crtime.nsec")
    assert set(re.findall(r"= (.*)", times)) == {"5"}


PLACES = {
    "superblock": (0, 224),
    "agf": (512, 216),
    "agi": (1024, 312),
    "agfl": (1536, 32),
    **{root: (at * BLOCK, 52) for at, root in enumerate(("bnobt", "cntbt", "inobt", "finobt", "refcountbt"), 1)},
    "inode": (16 * BLOCK + 3 * 512, 100),
}
"""Where a structure stands, and where its checksum is in it."""
FILES = {
    "a folder of one block": ("/names", "u3.bmx[0].startblock", 0, 4),
    "entries": ("/many", "u3.bmx[0].startblock", 3, 4),
    "node": ("/many", "u3.bmx[1].startblock", 0, 12),
    "leaf": ("/many", "u3.bmx[1].startblock", 1, 12),
    "free index": ("/many", "u3.bmx[2].startblock", 0, 4),
    "extents": ("/holes/many", "u3.bmbt.ptrs[1]", 0, 64),
    "attributes": ("/remote", "a.bmx[0].startblock", 0, 12),
    "value": ("/remote", "a.bmx[0].startblock", 2, 12),
    "symlink": ("/links/s1023", "u3.bmx[0].startblock", 0, 12),
}
"""A path, xfs_db's field with the block, how many blocks behind it, and where the checksum is."""


@pytest.mark.parametrize("place", [*PLACES, *FILES])
def test_every_checksum_is_checked(pack: Pack, fsck: Fsck, hard: Make, place: str) -> None:
    """Proves the oracles: one wrong bit in any checksum is found."""
    tree = hard()
    holes = tree.root.entries[b"holes"]
    assert isinstance(holes, Directory)
    content = sparse(120 * BLOCK, *[(i * 2 * BLOCK, b"%d" % i) for i in range(60)])
    holes.entries[b"many"] = File(content, 0o644)
    tree.root.entries[b"remote"] = File(EMPTY, 0o644, xattrs={b"user.remote": data(6000)})
    image = pack(tree)
    fsck(image)
    if place in PLACES:
        at = sum(PLACES[place])
    else:
        path, field, behind, checksum = FILES[place]
        block = re.findall(r"(?:= |:)(\d+)\b", db(image, f"path {path}", f"p {field}"), re.MULTILINE)[-1]
        # In the first group, where both ways to count blocks are the same.
        at = (int(block) + behind) * BLOCK + checksum
    with open(image, "r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes((old[0] ^ 0x10,)))
    if place == "attributes":  # Which xfs_repair reads without a look at the checksum.
        with mounted(image, "xfs") as folder, pytest.raises(OSError, match=r"Bad message|needs cleaning"):
            os.getxattr(folder / "remote", "user.remote")
    else:
        assert run(need_tool("xfs_repair", "xfsprogs"), "-n", "-f", image, check=False).returncode != 0


def test_the_comparison_sees_a_changed_inode(pack: Pack, hard: Make, shown: Shown) -> None:
    """Proves the other oracle."""
    tree = hard()
    image = pack(tree)
    tree.root.entries[b"special"].mtime += 1
    links = tree.root.entries[b"links"]
    assert isinstance(links, Directory)
    links.entries[b"bytes"].xattrs = {b"trusted.new": b""}
    with mounted(image, "xfs") as folder:
        assert len(differences(shown(tree), folder)) == 2


@pytest.mark.parametrize("files", [10, 20_000])
def test_xfs_growfs_grows_it(pack: Pack, fsck: Fsck, hard: Make, shown: Shown, files: int) -> None:
    tree = empty_files(files) if files > 10 else hard()
    image = pack(tree)
    for size in (310 * MIB, 3000 * MIB):
        os.truncate(image, size)
        with mounted(image, "xfs", writable=True) as folder:
            run(need_tool("xfs_growfs", "xfsprogs"), folder)
        fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        assert os.statvfs(folder).f_bavail * BLOCK > 2800 * MIB
        if files == 10:
            assert differences(shown(tree), folder) == []
        else:
            assert len(os.listdir(folder)) == files


def test_case_085_20_000_empty_files_and_20_000_more(pack: Pack, fsck: Fsck) -> None:
    image = pack(empty_files(20_000))
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        fill_and_rename(folder, 20_000)
    fsck(image)


def test_the_kernel_writes_into_every_kind_of_folder_and_file(pack: Pack, fsck: Fsck, hard: Make) -> None:
    image = pack(hard())
    with mounted(image, "xfs", writable=True) as folder:
        write_everywhere(folder)
        for i in range(40):
            os.setxattr(folder / "xattrs" / "several", f"user.new-{i}", b"n" * (i * 50))
            os.setxattr(folder / "special" / "pipe", f"trusted.new-{i}", b"n" * i)
            os.setxattr(folder / "links" / "s60", f"trusted.new-{i}", b"n" * i, follow_symlinks=False)
            os.setxattr(folder / "many", f"user.new-{i}", b"n" * i)
        shutil.copy(folder / "sizes" / "f1000003", folder / "copy")
    fsck(image)


def test_the_kernel_removes_everything(pack: Pack, fsck: Fsck, hard: Make) -> None:
    image = pack(hard())
    with mounted(image, "xfs", writable=True) as folder:
        for path in list(folder.iterdir()):
            shutil.rmtree(path)
    fsck(image)
    # Not before: since Linux 5.14 inodes are freed some time after their names.
    left = superblock(image)
    assert int(left["icount"]) - int(left["ifree"]) == 3
    empty = superblock(pack(Tree(Directory(0o755)), "empty.img"))
    assert int(left["fdblocks"]) >= int(empty["fdblocks"]) - 64


def test_a_full_group_can_still_have_its_files_removed(pack: Pack, fsck: Fsck) -> None:
    # The contents reach into the third group; what the first one needs to free inodes must be free in that very group.
    tree = Tree(Directory(0o755))
    block = data(70 * BLOCK)
    for i in range(600):
        tree.root.entries[b"f%d" % i] = File(Content.of(block), 0o644)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "xfs", writable=True) as folder:
        for i in range(0, 600, 2):
            (folder / f"f{i}").unlink()
        for i in range(5000):
            os.close(os.open(folder / f"new-{i}", os.O_CREAT | os.O_WRONLY))
        for i in range(0, 5000, 3):
            (folder / f"new-{i}").unlink()
    fsck(image)


@pytest.mark.parametrize(("major", "minor"), [(0, 0), (1, 3), (255, 255), (0, 256), (511, (1 << 18) - 1)])
def test_device_numbers(pack: Pack, fsck: Fsck, major: int, minor: int) -> None:
    need_root()
    tree = Tree(Directory(0o755))
    tree.root.entries[b"device"] = CharDevice(major, minor, 0o600)
    image = pack(tree)
    fsck(image)
    with mounted(image, "xfs") as folder:
        assert differences(tree, folder) == []


@pytest.mark.parametrize(("major", "minor"), [(512, 0), (0, 1 << 18)])
def test_larger_device_numbers_are_an_error(pack: Pack, major: int, minor: int) -> None:
    tree = Tree(Directory(0o755))
    tree.root.entries[b"device"] = CharDevice(major, minor, 0o600)
    with pytest.raises(BuildError, match=f"^/device is the device {major}:{minor}; xfs holds 511:262143 at most$"):
        pack(tree)


def test_an_error_names_the_path(pack: Pack) -> None:
    tree = empty_files(1)
    below = tree.root.entries[b"a"] = Directory(0o755)
    below.entries[b"link"] = Symlink(b"t" * 1024)
    with pytest.raises(BuildError, match=r"^/a/link points to 1024 bytes; an xfs symlink holds 1023$"):
        pack(tree)
