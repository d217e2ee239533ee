"""Whole images against e2fsck, resize2fs, dumpe2fs, debugfs and the kernel."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.kernel_writes import fill_and_rename, write_everywhere
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, SECOND, differences, empty_files, hard_tree
from fledge.tree.content import Content
from fledge.tree.inode import CharDevice, Directory, File, Symlink
from fledge.tree.tree import Tree
from fledge_fs_ext4.reader import read_tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]

MIB = 1 << 20
BLOCK = 4096


@pytest.mark.parametrize("journal", [True, False])
def test_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, fsck: Fsck, journal: bool) -> None:
    tree = hard_tree()
    image = pack(tree, journal=journal)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


def test_another_tree_gives_another_uuid(pack: Pack) -> None:
    def uuid(tree: Tree, name: str) -> bytes:
        return pack(tree, name, size_buffer_mb=1).read_bytes()[1024 + 0x68 :][:16]

    changed = empty_files(3)
    changed.root.entries[b"file-00001"].mode = 0o600
    assert uuid(empty_files(3), "a") == uuid(empty_files(3), "b")
    assert len({uuid(empty_files(3), "c"), uuid(empty_files(4), "d"), uuid(changed, "e")}) == 3


def test_the_times_of_the_filesystem_are_the_plans_epoch_else_the_trees(pack: Pack) -> None:
    def made(image: Path) -> int:
        return int(struct.unpack_from("<I", image.read_bytes(), 1024 + 0x108)[0])

    assert made(pack(empty_files(1), epoch=42, size_buffer_mb=1)) == 42
    assert made(pack(empty_files(1), size_buffer_mb=1)) == EPOCH // SECOND


@pytest.mark.parametrize(
    ("mb", "journal"),
    [(1, True), (1, False), (5, True), (64, True), (128, True), (128, False), (129, True), (1500, True)],
)
def test_as_much_is_free_for_files_as_was_asked_for(pack: Pack, fsck: Fsck, mb: int, journal: bool) -> None:
    tree = empty_files(10)
    image = pack(tree, size_buffer_mb=mb, journal=journal)
    fsck(image)
    with mounted(image, "ext4", writable=True) as folder:
        status = os.statvfs(folder)
        assert mb * MIB <= status.f_bavail * status.f_frsize <= mb * MIB + 4 * MIB
        if mb <= 64:
            with open(folder / "all-of-it", "wb") as file:
                file.writelines(bytes(MIB) for _ in range(mb))
                os.fsync(file.fileno())
    fsck(image)


def test_the_image_is_sparse_unless_it_is_preallocated(pack: Pack, fsck: Fsck) -> None:
    sparse, reserved = pack(hard_tree(), "sparse.img"), pack(hard_tree(), "reserved.img", preallocate=True)
    assert sparse.stat().st_blocks * 512 < 12 * MIB < 64 * MIB < sparse.stat().st_size
    assert reserved.stat().st_blocks * 512 >= reserved.stat().st_size
    assert reserved.read_bytes() == sparse.read_bytes()
    fsck(reserved)


def test_an_empty_tree(pack: Pack, fsck: Fsck) -> None:
    tree = Tree(Directory(0o700, 1000, 1001, EPOCH + 1))
    image = pack(tree)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


def test_lost_and_found_of_the_tree_is_left_as_it_is(pack: Pack, fsck: Fsck) -> None:
    tree = empty_files(1)
    tree.root.entries[b"lost+found"] = Directory(0o711, 5, 6, EPOCH)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        (-1, -1),
        (-(1 << 31) * SECOND, -(1 << 31) * SECOND),
        (-(1 << 31) * SECOND - 1, -(1 << 31) * SECOND),
        (-(1 << 40) * SECOND, -(1 << 31) * SECOND),
        ((1 << 31) * SECOND - 1, (1 << 31) * SECOND - 1),
        ((1 << 31) * SECOND, (1 << 31) * SECOND),
        ((1 << 32) * SECOND + 7, (1 << 32) * SECOND + 7),
        (15_032_385_535 * SECOND + 999_999_999, 15_032_385_535 * SECOND + 999_999_999),
        (15_032_385_536 * SECOND, 15_032_385_535 * SECOND + 999_999_999),
    ],
)
def test_times_reach_from_1901_to_2446_and_are_clamped_beyond(pack: Pack, moment: int, held: int) -> None:
    tree = empty_files(1)
    tree.root.entries[b"file-00000"].mtime = moment
    image = pack(tree, size_buffer_mb=1)
    assert read_tree(image).root.entries[b"file-00000"].mtime == held
    with mounted(image, "ext4") as folder:
        assert (folder / "file-00000").stat().st_mtime_ns == held


def test_dumpe2fs_and_debugfs_read_it(pack: Pack) -> None:
    tree = hard_tree()
    tree.root.entries[b"stamp"] = File(Content.of(b"x" * 5000), 0o4755, 100_001, 100_002, EPOCH + 5)
    image = pack(tree)
    head = run(need_tool("dumpe2fs", "e2fsprogs"), image).stdout
    for feature in (
        "has_journal",
        "ext_attr",
        "resize_inode",
        "dir_index",
        "extent",
        "64bit",
        "flex_bg",
        "metadata_csum",
    ):
        assert feature in head
    assert "INVALID" not in head
    stamp = run(need_tool("debugfs", "e2fsprogs"), "-R", "stat /stamp", image).stdout
    assert "Mode:  04755" in stamp
    assert "User: 100001   Group: 100002" in stamp
    assert "Blockcount: 16" in stamp


@pytest.mark.parametrize(
    "place",
    [
        "superblock",
        "descriptor",
        "block bitmap",
        "inode bitmap",
        "inode",
        "folder",
        "index",
        "leaf",
        "extents",
        "xattrs",
    ],
)
def test_every_checksum_is_one_that_e2fsck_checks(pack: Pack, fsck: Fsck, place: str) -> None:
    """Proves the oracle: one wrong bit anywhere in the metadata is found."""
    image = pack(hard_tree(), size_buffer_mb=4)
    fsck(image)
    dump = run(need_tool("dumpe2fs", "e2fsprogs"), image).stdout

    def block_of(what: str) -> int:
        return int(dump.split(what)[1].split()[0].rstrip(",-").split("-")[0])

    def logical(path: str, number: int) -> int:
        return int(run(need_tool("debugfs", "e2fsprogs"), "-R", f"bmap {path} {number}", image).stdout)

    tree_block = run(need_tool("debugfs", "e2fsprogs"), "-R", "ex /holes/many", image).stdout.splitlines()[1].split()
    at = {
        "superblock": 1024 + 0x4C + 1,
        "descriptor": BLOCK + 12,
        "block bitmap": block_of("Block bitmap at ") * BLOCK + 700,
        "inode bitmap": block_of("Inode bitmap at ") * BLOCK + 100,
        "inode": block_of("Inode table at ") * BLOCK + 256 + 8,
        "folder": logical("/owners", 0) * BLOCK + 2000,
        "index": logical("/many", 0) * BLOCK + 45,
        "leaf": logical("/many", 2) * BLOCK + 9,
        "extents": int(tree_block[7]) * BLOCK + 15,
        "xattrs": 0,
    }[place]
    if place == "xattrs":
        acl = run(need_tool("debugfs", "e2fsprogs"), "-R", "stat /xattrs/large", image).stdout
        at = int(acl.split("File ACL: ")[1].split()[0]) * BLOCK + 3500
    with open(image, "r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes((old[0] ^ 0x10,)))
    assert run(need_tool("e2fsck", "e2fsprogs"), "-fn", image, check=False).returncode != 0


def test_the_comparison_sees_a_changed_inode(pack: Pack) -> None:
    """Proves the other oracle."""
    tree = hard_tree()
    image = pack(tree)
    tree.root.entries[b"special"].mtime += 1
    links = tree.root.entries[b"links"]
    assert isinstance(links, Directory)
    links.entries[b"bytes"].xattrs = {b"trusted.new": b""}
    with mounted(image, "ext4") as folder:
        assert len(differences(tree, folder)) == 2


@pytest.mark.parametrize("files", [10, 40_000])
def test_resize2fs_grows_it(pack: Pack, fsck: Fsck, files: int) -> None:
    tree = empty_files(files) if files > 10 else hard_tree()
    image = pack(tree)
    for size in (300 * MIB, 20_000 * MIB):
        os.truncate(image, size)
        run(need_tool("resize2fs", "e2fsprogs"), image)
        fsck(image)
    with mounted(image, "ext4", writable=True) as folder:
        assert os.statvfs(folder).f_bavail * BLOCK > 15_000 * MIB
        if files == 10:
            assert differences(tree, folder) == []
        else:
            assert len(os.listdir(folder)) == files


def test_resize2fs_grows_it_while_it_is_mounted(pack: Pack, fsck: Fsck) -> None:
    capabilities = int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16)
    if not capabilities >> 24 & 1:
        pytest.skip("needs CAP_SYS_RESOURCE, without which the kernel does not resize what is mounted")
    image = pack(empty_files(10), size_buffer_mb=8)
    with mounted(image, "ext4", writable=True) as folder:
        device = run("findmnt", "-no", "SOURCE", folder).stdout.strip()
        os.truncate(image, 3000 * MIB)
        run("losetup", "-c", device)
        run(need_tool("resize2fs", "e2fsprogs"), device)
        assert os.statvfs(folder).f_bavail * BLOCK > 2800 * MIB
    fsck(image)


def test_resize2fs_shrinks_it(pack: Pack, fsck: Fsck) -> None:
    tree = hard_tree()
    image = pack(tree, size_buffer_mb=1000)
    run(need_tool("resize2fs", "e2fsprogs"), "-M", image)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder) == []


def test_a_backup_superblock_rescues_it(pack: Pack, fsck: Fsck) -> None:
    tree = empty_files(50)
    image = pack(tree, size_buffer_mb=600)
    with open(image, "r+b") as file:
        file.write(bytes(2 * BLOCK))
    for group in (1, 3):
        options = ("-b", str(group * 32_768), "-B", "4096")
        # -n leaves the image; an exit of 4 says that the primary is to be mended, more that the backup is not sound.
        assert run(need_tool("e2fsck", "e2fsprogs"), "-fn", *options, image, check=False).returncode <= 4
    run(need_tool("e2fsck", "e2fsprogs"), "-fy", "-b", "32768", "-B", "4096", image, check=False)
    fsck(image)
    with mounted(image, "ext4") as folder:
        assert differences(tree, folder, ignore=[b"lost+found"]) == []


def test_case_085_20_000_empty_files_and_20_000_more(pack: Pack, fsck: Fsck) -> None:
    image = pack(empty_files(20_000))
    fsck(image)
    with mounted(image, "ext4", writable=True) as folder:
        fill_and_rename(folder, 20_000)
    fsck(image)


def test_the_kernel_writes_into_every_kind_of_folder_and_file(pack: Pack, fsck: Fsck) -> None:
    image = pack(hard_tree(), size_buffer_mb=64)
    with mounted(image, "ext4", writable=True) as folder:
        write_everywhere(folder)
        (folder / "links" / "s4095").unlink()
    fsck(image)


@pytest.mark.parametrize(
    ("major", "minor"), [(0, 0), (1, 3), (255, 255), (256, 0), (0, 256), (4095, 1_048_575), (0, 1_048_575)]
)
def test_device_numbers_of_both_encodings(pack: Pack, major: int, minor: int) -> None:
    need_root()
    tree = Tree(Directory(0o755))
    tree.root.entries[b"device"] = CharDevice(major, minor, 0o600)
    with mounted(pack(tree, size_buffer_mb=1), "ext4") as folder:
        assert differences(tree, folder) == []


def test_an_error_names_the_path(pack: Pack) -> None:
    tree = empty_files(1)
    below = tree.root.entries[b"a"] = Directory(0o755)
    below.entries[b"link"] = Symlink(b"t" * 4096)
    with pytest.raises(BuildError, match=r"^/a/link points to 4096 bytes; an ext4 symlink holds 4095$"):
        pack(tree)
