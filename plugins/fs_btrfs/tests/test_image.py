"""Whole images against btrfs-progs and the kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.kernel_writes import fill_and_rename, write_everywhere
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, SECOND, data, differences, empty_files, folder_with, hard_tree, tree_with
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import CharDevice, Directory, File
from fledge.tree.tree import Tree
from fledge_fs_btrfs.format import MIB, NODE, SECTOR
from fledge_fs_btrfs.reader import read_tree

Pack = Callable[..., Path]
Check = Callable[[Path], None]

SUPERBLOCK = 64 * 1024

pytestmark = pytest.mark.xdist_group("btrfs")
"""Equal trees have equal UUIDs, and a kernel before 6.7 mounts one of them at a time."""


def free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_case_086_the_kernel_shows_every_inode_of_the_hard_tree(pack: Pack, check: Check) -> None:
    tree = hard_tree()
    image = pack(tree)
    check(image)
    run(need_tool("btrfs", "btrfs-progs"), "check", "--readonly", "--mode", "lowmem", image)
    with mounted(image, "btrfs") as folder:
        assert differences(tree, folder) == []


def test_another_tree_has_other_uuids(pack: Pack) -> None:
    def uuid(tree: Tree, name: str) -> bytes:
        with open(pack(tree, name, size_buffer_mb=1), "rb") as file:
            return os.pread(file.fileno(), 16, SUPERBLOCK + 32)

    changed, later, linked = empty_files(3), empty_files(3), empty_files(3)
    changed.root.entries[b"file-00001"].mode = 0o600
    later.root.entries[b"file-00001"].mtime += 1
    linked.root.entries[b"file-00002"] = linked.root.entries[b"file-00001"]
    assert uuid(empty_files(3), "a") == uuid(empty_files(3), "b")
    assert len({uuid(tree, "c") for tree in (empty_files(3), empty_files(4), changed, later, linked)}) == 5
    full, empty = folder_with({b"x": File(EMPTY, 0o644)}), Directory(0o755)
    here, there = tree_with({b"a": full, b"b": empty}), tree_with({b"a": empty, b"b": full})
    assert uuid(here, "d") != uuid(there, "e")


@pytest.mark.parametrize(("mb", "content"), [(1, 0), (64, 0), (100, 0), (30, 60), (70, 15)])
def test_as_much_can_be_written_as_was_asked_for(pack: Pack, check: Check, mb: int, content: int) -> None:
    tree = empty_files(10)
    tree.root.entries[b"content"] = File(Content.of(data(content * MIB)), 0o644)
    image = pack(tree, size_buffer_mb=mb)
    with mounted(image, "btrfs", writable=True) as folder:
        # Padding to the smallest size is free, too.
        assert mb * MIB <= free(folder) <= max(mb, 74 - content) * MIB + MIB
        with open(folder / "all-of-it", "wb") as file:
            file.writelines(data(MIB, i) for i in range(mb))
            os.fsync(file.fileno())
    check(image)


def test_as_much_can_be_written_in_small_files(pack: Pack, check: Check) -> None:
    image = pack(empty_files(10), size_buffer_mb=80)
    with mounted(image, "btrfs", writable=True) as folder:
        for i in range(80 * MIB // (4 * SECTOR)):
            (folder / f"new-{i}").write_bytes(b"n" * (3 * SECTOR + 1))
        os.sync()
    check(image)


@pytest.mark.parametrize("mb", [1, 7])
def test_case_084_a_small_image_is_padded_to_what_mkfs_makes_at_least(pack: Pack, check: Check, mb: int) -> None:
    image = pack(empty_files(1), size_buffer_mb=mb)
    small = image.with_name("small.img")
    small.write_bytes(b"")
    os.truncate(small, MIB)
    told = run(need_tool("mkfs.btrfs", "btrfs-progs"), small, check=False)
    least = re.search(r"minimum size for each btrfs device is (\d+)", told.stderr)
    assert least is not None
    assert image.stat().st_size == int(least[1])
    check(image)


def test_the_image_is_sparse_unless_it_is_preallocated(pack: Pack, check: Check) -> None:
    sparse, reserved = pack(hard_tree(), "sparse.img"), pack(hard_tree(), "reserved.img", preallocate=True)
    assert sparse.stat().st_blocks * 512 < 8 * MIB < 64 * MIB < sparse.stat().st_size
    assert reserved.stat().st_blocks * 512 >= reserved.stat().st_size
    assert reserved.read_bytes() == sparse.read_bytes()


def test_an_empty_tree(pack: Pack, check: Check) -> None:
    tree = Tree(Directory(0o700, 1000, 1001, EPOCH + 1))
    image = pack(tree)
    check(image)
    with mounted(image, "btrfs") as folder:
        assert differences(tree, folder) == []


@pytest.mark.parametrize(
    ("moment", "held"),
    [
        (-1, -1),
        (-(1 << 31) * SECOND - 5, -(1 << 31) * SECOND - 5),
        ((1 << 32) * SECOND + 7, (1 << 32) * SECOND + 7),
        (8_000_000_000 * SECOND + 999_999_999, 8_000_000_000 * SECOND + 999_999_999),
        ((1 << 70) * SECOND, ((1 << 63) - 1) * SECOND + 999_999_999),
        (-(1 << 70) * SECOND, -(1 << 63) * SECOND),
    ],
)
def test_times_have_64_bits_and_are_clamped_beyond(pack: Pack, moment: int, held: int) -> None:
    tree = empty_files(1)
    tree.root.entries[b"file-00000"].mtime = moment
    image = pack(tree, size_buffer_mb=1)
    assert read_tree(image).root.entries[b"file-00000"].mtime == held
    if abs(held) < 1 << 63:
        with mounted(image, "btrfs") as folder:
            assert (folder / "file-00000").stat().st_mtime_ns == held


@pytest.mark.parametrize(
    ("major", "minor"), [(0, 0), (1, 3), (255, 255), (256, 0), (0, 256), (4095, 1_048_575), (0, 1_048_575)]
)
def test_device_numbers(pack: Pack, major: int, minor: int) -> None:
    need_root()
    tree = Tree(Directory(0o755))
    tree.root.entries[b"device"] = CharDevice(major, minor, 0o600)
    with mounted(pack(tree, size_buffer_mb=1), "btrfs") as folder:
        status = (folder / "device").stat()
        assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (major, minor)


def warnings() -> list[str]:
    """What the kernel has complained of so far."""
    told = run("dmesg", "--level", "emerg,alert,crit,err,warn", check=False)
    if told.returncode != 0:
        pytest.skip("the kernel's messages can't be read")
    return [line for line in told.stdout.splitlines() if "BTRFS" in line]


def test_the_kernel_mounts_it_without_a_warning(pack: Pack) -> None:
    before = warnings()
    with mounted(pack(hard_tree()), "btrfs", writable=True) as folder:
        device = Path(run("findmnt", "-no", "SOURCE", folder).stdout.strip()).name
        (folder / "new").write_bytes(b"new")
        os.sync()
    assert [line for line in warnings() if f"device {device}" in line and line not in before] == []


def block_of(image: Path, tree: str, kind: str = "leaf") -> int:
    """Where the first leaf or node of a tree stands."""
    dump = run(need_tool("btrfs", "btrfs-progs"), "inspect-internal", "dump-tree", "-t", tree, image).stdout
    found = re.search(rf"^{kind} (\d+)", dump, re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        ("root", "leaf"),
        ("extent", "leaf"),
        ("chunk", "leaf"),
        ("device", "leaf"),
        ("fs", "leaf"),
        ("fs", "node"),
        ("csum", "leaf"),
        ("uuid", "leaf"),
        ("free_space", "leaf"),
        ("data_reloc", "leaf"),
        ("superblock", ""),
        ("data", ""),
    ],
)
def test_every_checksum_is_one_that_btrfs_check_checks(pack: Pack, check: Check, tree: str, kind: str) -> None:
    """Proves the oracle: one wrong bit anywhere is found."""
    content = data(3 * SECTOR, 4711)
    source = hard_tree()
    source.root.entries[b"marked"] = File(Content.of(content), 0o644)
    image = pack(source, size_buffer_mb=4)
    check(image)
    if tree == "superblock":
        at = SUPERBLOCK + 0x60
    elif tree == "data":
        at = image.read_bytes().index(content) + 2 * SECTOR + 5
    else:
        at = block_of(image, tree, kind) + (NODE - 3 if kind == "leaf" else 200)
    with open(image, "r+b") as file:
        old = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes((old[0] ^ 0x10,)), at)
    btrfs = need_tool("btrfs", "btrfs-progs")
    assert run(btrfs, "check", "--readonly", "--check-data-csum", image, check=False).returncode != 0


def test_the_comparison_sees_a_changed_inode(pack: Pack) -> None:
    """Proves the other oracle."""
    tree = hard_tree()
    image = pack(tree)
    tree.root.entries[b"special"].mtime += 1
    links = tree.root.entries[b"links"]
    assert isinstance(links, Directory)
    links.entries[b"bytes"].xattrs = {b"trusted.new": b""}
    with mounted(image, "btrfs") as folder:
        assert len(differences(tree, folder)) == 2


def test_it_grows_while_it_is_mounted_and_can_be_balanced(pack: Pack, check: Check) -> None:
    tree = hard_tree()
    image = pack(tree, size_buffer_mb=8)
    btrfs = need_tool("btrfs", "btrfs-progs")
    os.truncate(image, 1000 * MIB)
    with mounted(image, "btrfs", writable=True) as folder:
        run(btrfs, "filesystem", "resize", "max", folder)
        assert free(folder) > 800 * MIB
        run(btrfs, "balance", "start", "--full-balance", folder)
        run(btrfs, "balance", "start", "-f", "-mconvert=dup", "-sconvert=dup", folder)
        scrub = run(btrfs, "scrub", "start", "-B", folder).stdout
        assert "no errors found" in scrub
        assert differences(tree, folder) == []
    check(image)


def test_a_copy_can_be_given_uuids_of_its_own(pack: Pack, check: Check) -> None:
    """Kernels before 6.7 do not mount two filesystems of one UUID at once."""
    tree = hard_tree()
    image = pack(tree, size_buffer_mb=8)
    run(need_tool("btrfstune", "btrfs-progs"), "-f", "-u", image)
    check(image)
    with mounted(image, "btrfs") as folder:
        assert differences(tree, folder) == []


def test_a_mirror_of_the_superblock_rescues_it(pack: Pack, check: Check) -> None:
    image = pack(hard_tree(), size_buffer_mb=8)
    with open(image, "r+b") as file:
        os.pwrite(file.fileno(), bytes(4096), SUPERBLOCK)
    run(need_tool("btrfs", "btrfs-progs"), "rescue", "super-recover", "-y", image, check=False)
    check(image)


def test_case_085_20_000_empty_files_and_20_000_more(pack: Pack, check: Check) -> None:
    image = pack(empty_files(20_000))
    check(image)
    with mounted(image, "btrfs", writable=True) as folder:
        fill_and_rename(folder, 20_000)
    check(image)


def test_the_kernel_writes_into_every_kind_of_folder_and_file(pack: Pack, check: Check) -> None:
    image = pack(hard_tree(), size_buffer_mb=64)
    with mounted(image, "btrfs", writable=True) as folder:
        write_everywhere(folder)
        (folder / "links" / "s4095").unlink()
        run("chmod", "-R", "g+w", folder / "many")
        run("rm", "-r", folder / "names")
    check(image)


def test_more_than_there_can_be_is_an_error(pack: Pack) -> None:
    message = r"^the btrfs image may need 18\d+ bytes; at most 17592186040320 are possible$"
    with pytest.raises(BuildError, match=message) as caught:
        pack(empty_files(0), size_buffer_mb=16 * MIB)
    assert caught.value.hint == f"0 bytes are content, {16 << 40} are free space: see size_buffer_mb"
