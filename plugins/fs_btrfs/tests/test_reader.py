"""The reader: our own images, those of mkfs.btrfs and the kernel, and broken ones."""

from __future__ import annotations

import os
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.any_tree import trees
from fledge.testing.oracles import mounted, need_tool, run
from fledge.testing.trees import EPOCH, MINIMAL_ACL, data, described, differences, hard_tree, sparse
from fledge.tree.content import Content
from fledge.tree.inode import (
    Directory,
    File,
)
from fledge.tree.tree import Tree
from fledge_fs_btrfs.checksum import crc32c
from fledge_fs_btrfs.driver import Btrfs
from fledge_fs_btrfs.format import CHECKSUM_SIZE, HEADER_SIZE, KEY, MIB, NODE, POINTER, SECTOR
from fledge_fs_btrfs.reader import read_tree
from hypothesis import HealthCheck, given, settings

Pack = Callable[..., Path]
Check = Callable[[Path], None]

SUPERBLOCK = 64 * 1024

pytestmark = pytest.mark.xdist_group("btrfs")
"""Equal trees have equal UUIDs, and a kernel before 6.7 mounts one of them at a time."""


def test_what_was_read_is_packed_into_the_same_bytes(pack: Pack) -> None:
    one = pack(hard_tree(), "one.img", size_buffer_mb=2)
    two = pack(read_tree(one), "two.img", size_buffer_mb=2)
    assert two.read_bytes() == one.read_bytes()


def test_holes_are_still_holes(pack: Pack) -> None:
    tree = Tree(Directory(0o755))
    tree.root.entries[b"f"] = File(sparse(9 << 30, (5 << 30, data(5000))), 0o644)
    read = read_tree(pack(tree, size_buffer_mb=1)).root.entries[b"f"]
    assert isinstance(read, File)
    assert [(piece.offset, piece.length) for piece in read.content.pieces] == [(5 << 30, 8192)]


def made(image: Path, *options: str, size: int = 300 * MIB) -> Path:
    """An image that mkfs.btrfs made."""
    image.write_bytes(b"")
    os.truncate(image, size)
    run(need_tool("mkfs.btrfs", "btrfs-progs"), "-q", *options, image)
    return image


def fill(top: Path) -> None:
    """What the kernel writes as it likes, in several transactions."""
    top.chmod(0o751)
    (top / "folder").mkdir()
    for i in range(900):
        (top / "folder" / f"entry-{i}").write_bytes(b"%d" % i * (i % 9) * 300)
    (top / "file").write_bytes(data(100_001))
    os.link(top / "file", top / "link")
    os.link(top / "file", top / "folder" / "link")
    os.sync()
    with open(top / "sparse", "wb") as file:
        for i in range(9):
            file.seek(i * 1_000_000)
            file.write(data(5000, i))
        file.truncate(20_000_000)
    with open(top / "rewritten", "wb") as file:
        file.write(data(3 * MIB, 1))
        os.fsync(file.fileno())
        for i in range(30):
            os.pwrite(file.fileno(), data(10_000, i), i * 99_999)
            if i % 7 == 0:
                os.fsync(file.fileno())
    with open(top / "preallocated", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * MIB)
        os.pwrite(file.fileno(), b"written", MIB)
        file.truncate(4 * MIB - 5)
    for i in range(0, 900, 3):
        (top / "folder" / f"entry-{i}").unlink()
    for length in (10, 59, 60, 700, 3000):
        (top / f"symlink-{length}").symlink_to("t" * length)
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o060660, os.makedev(259, 70_000))
    os.mkfifo(top / "fifo")
    os.chown(top / "fifo", 70_000, 80_000)
    os.setxattr(top / "file", "user.small", b"value")
    os.setxattr(top / "folder", "trusted.large", data(700))
    os.setxattr(top / "sparse", "system.posix_acl_access", MINIMAL_ACL)
    os.utime(top / "file", ns=(EPOCH, 4_000_000_000_123_456_789))
    run("cp", "--reflink=always", top / "file", top / "clone")
    with open(top / "clone", "r+b") as file:
        file.seek(50_000)
        file.write(b"changed")
    os.sync()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-m", "single"),
        ("-n", "32768"),
        ("-n", "4096"),
        ("-M",),
        ("-O", "^no-holes", "-R", "^free-space-tree"),
        ("-d", "dup"),
    ],
    ids=" ".join,
)
def test_images_that_the_kernel_wrote_to_are_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = made(tmp_path / "kernel.img", *options)
    with mounted(image, "btrfs", writable=True) as folder:
        fill(folder)
    with mounted(image, "btrfs") as folder:
        assert differences(read_tree(image), folder) == []


def test_a_file_over_several_chunks_is_read(tmp_path: Path) -> None:
    image = made(tmp_path / "image", "-m", "single", size=600 * MIB)
    content = data(150 * MIB)
    with mounted(image, "btrfs", writable=True) as folder:
        (folder / "file").write_bytes(content)
    file = read_tree(image).root.entries[b"file"]
    assert isinstance(file, File)
    assert b"".join(file.content.chunks(1_000_000)) == content  # Chunks end at whole MiB, and views do not.


def test_our_image_is_read_after_the_kernel_wrote_to_it(pack: Pack) -> None:
    image = pack(hard_tree(), size_buffer_mb=80)
    with mounted(image, "btrfs", writable=True) as folder:
        fill(folder)
        run("rm", "-r", folder / "names")
    with mounted(image, "btrfs") as folder:
        assert differences(read_tree(image), folder) == []


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    image = made(tmp_path / "t.img")
    with mounted(image, "btrfs", writable=True) as folder:
        (folder / "file").touch()
        run("chattr", "+C", folder / "file")
        (folder / "file").write_bytes(data(10_000))
    with mounted(image, "btrfs") as folder:
        assert differences(read_tree(image), folder) == []


def test_the_default_subvolume_is_read(tmp_path: Path) -> None:
    image = made(tmp_path / "t.img")
    btrfs = need_tool("btrfs", "btrfs-progs")
    with mounted(image, "btrfs", writable=True) as folder:
        run(btrfs, "subvolume", "create", folder / "one")
        (folder / "one" / "file").write_bytes(b"in the subvolume")
        run(btrfs, "subvolume", "set-default", folder / "one")
    with mounted(image, "btrfs") as folder:
        assert (folder / "file").read_bytes() == b"in the subvolume"
        assert differences(read_tree(image), folder) == []


def with_a_subvolume(folder: Path) -> None:
    run(need_tool("btrfs", "btrfs-progs"), "subvolume", "create", folder / "sub")


def with_compression(algorithm: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "file").touch()
        run(need_tool("btrfs", "btrfs-progs"), "property", "set", folder / "file", "compression", algorithm)
        (folder / "file").write_bytes(b"again and " * 10_000)

    return write


def nothing(_: Path) -> None:
    """The image is left as it was made."""


@pytest.mark.parametrize(
    ("options", "write", "message"),
    [
        (("--csum", "xxhash"), nothing, "its checksums are xxhash64, which is not supported"),
        (("--csum", "sha256"), nothing, "its checksums are sha256, which is not supported"),
        ((), with_a_subvolume, "directory inode 256 has the subvolume b'sub', which is not supported"),
        ((), with_compression("zlib"), "inode 257 is compressed with zlib, which is not supported"),
        ((), with_compression("lzo"), "inode 257 is compressed with lzo, which is not supported"),
        ((), with_compression("zstd"), "inode 257 is compressed with zstd, which is not supported"),
    ],
    ids=["xxhash", "sha256", "subvolume", "zlib", "lzo", "zstd"],
)
def test_what_is_not_supported_is_said(
    tmp_path: Path, options: tuple[str, ...], write: Callable[[Path], None], message: str
) -> None:
    image = made(tmp_path / "t.img", *options)
    if write is not nothing:
        with mounted(image, "btrfs", writable=True) as folder:
            write(folder)
    assert Btrfs.recognizes(image.read_bytes()[: 128 << 10])
    with pytest.raises(BuildError, match=message):
        read_tree(image)


def test_an_image_that_is_one_of_two_devices_is_said(tmp_path: Path) -> None:
    one, two = tmp_path / "one.img", tmp_path / "two.img"
    for image in (one, two):
        image.write_bytes(b"")
        os.truncate(image, 200 * MIB)
    run(need_tool("mkfs.btrfs", "btrfs-progs"), "-q", one, two)
    with pytest.raises(BuildError, match="it is one of 2 devices, which is not supported"):
        read_tree(one)


def test_an_image_whose_log_is_to_be_replayed_is_said(tmp_path: Path) -> None:
    image, cut = made(tmp_path / "t.img"), tmp_path / "cut.img"
    with mounted(image, "btrfs", writable=True) as folder:
        (folder / "file").write_bytes(b"synced by itself")
        with open(folder / "file", "rb") as file:
            os.fsync(file.fileno())
        shutil.copyfile(image, cut)
    with pytest.raises(BuildError, match="it was not unmounted: its log is to be replayed"):
        read_tree(cut)


@pytest.mark.parametrize("head", [b"", b"hsqs", bytes(70_000), b"_BHRfS_M" * 9])
def test_other_files_are_not_recognized(head: bytes) -> None:
    assert not Btrfs.recognizes(head)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"can't read .*: No such file or directory"):
        read_tree(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 1000, 65_536, 69_000, 2 * MIB, 70 * MIB])
def test_a_file_that_is_cut_short(pack: Pack, size: int) -> None:
    image = pack(hard_tree(), size_buffer_mb=1)
    os.truncate(image, size)
    with pytest.raises(BuildError, match="is not a btrfs image that can be read"):
        read_tree(image)


def blocks_of(image: Path) -> list[int]:
    """Where the tree blocks are that the reader looks at."""
    dump = run(need_tool("btrfs", "btrfs-progs"), "inspect-internal", "dump-tree", image).stdout
    return [
        int(start)
        for start, owner in re.findall(r"^(?:leaf|node) (\d+) .* owner (\w+)$", dump, re.MULTILINE)
        if owner in ("ROOT_TREE", "CHUNK_TREE", "FS_TREE", "CSUM_TREE")
    ]


@pytest.mark.parametrize("seed", range(12))
def test_a_wrong_bit_is_found_by_its_checksum(pack: Pack, seed: int) -> None:
    randomly = random.Random(seed)
    image = pack(hard_tree(), size_buffer_mb=1)
    start = randomly.choice(blocks_of(image))
    with open(image, "r+b") as file:
        block = os.pread(file.fileno(), NODE, start)
        at = randomly.choice([at for at in range(NODE) if block[at]])
        os.pwrite(file.fileno(), bytes((block[at] ^ 1 << seed % 8,)), start + at)
    with pytest.raises(BuildError, match=f"the tree block {start} has a wrong checksum"):
        described(read_tree(image))


def test_a_wrong_bit_in_the_data_is_found_when_they_are_read(pack: Pack) -> None:
    tree = Tree(Directory(0o755))
    content = data(2 * MIB + 100)
    tree.root.entries[b"f"] = File(Content.of(content), 0o644)
    image = pack(tree, size_buffer_mb=1)
    at = image.read_bytes().index(content[:100]) + 300 * SECTOR + 77
    with open(image, "r+b") as file:
        os.pwrite(file.fileno(), b"\0\1\2\3", at)
    read = read_tree(image).root.entries[b"f"]
    assert isinstance(read, File)
    with pytest.raises(BuildError, match=f"the data at byte {at // SECTOR * SECTOR} have a wrong checksum"):
        read.content.read()


def seal(image: Path, block: bytearray, start: int) -> None:
    """Puts a block into the image, with the checksum that it should have."""
    block[:CHECKSUM_SIZE] = crc32c(bytes(block[CHECKSUM_SIZE:])).to_bytes(CHECKSUM_SIZE, "little")
    with open(image, "r+b") as file:
        os.pwrite(file.fileno(), block, start)


def block_at(image: Path, start: int, size: int = NODE) -> bytearray:
    with open(image, "rb") as file:
        return bytearray(os.pread(file.fileno(), size, start))


def test_broken_images_are_an_error_or_a_tree_and_never_a_crash_or_a_loop(pack: Pack) -> None:
    # The checksums are made right again, so that the broken numbers themselves are met.
    image = pack(hard_tree(), size_buffer_mb=1)
    sound = {start: bytes(block_at(image, start)) for start in blocks_of(image)}
    sound[SUPERBLOCK] = bytes(block_at(image, SUPERBLOCK, 4096))
    randomly = random.Random(3)
    errors = 0
    for _ in range(250):
        chosen = randomly.choices(list(sound), k=randomly.choice((1, 2, 5)))
        for start in chosen:
            block = bytearray(sound[start])
            used = [at for at in range(CHECKSUM_SIZE, len(block)) if block[at]]
            for at in randomly.choices(used, k=randomly.choice((1, 3, 40))):
                block[at] = randomly.choice((0, 1, 0x7F, 0x80, 0xFF, randomly.randrange(256)))
            seal(image, block, start)
        try:
            described(read_tree(image))
        except BuildError:
            errors += 1
        for start in chosen:
            seal(image, bytearray(sound[start]), start)
    assert errors > 120
    described(read_tree(image))


def test_a_tree_that_leads_back_to_itself_is_an_error(pack: Pack) -> None:
    image = pack(hard_tree(), size_buffer_mb=1)
    dump = run(need_tool("btrfs", "btrfs-progs"), "inspect-internal", "dump-tree", "-t", "fs", image).stdout
    found = re.search(r"^node (\d+)", dump, re.MULTILINE)
    assert found is not None
    node = int(found[1])
    block = block_at(image, node)
    first, second = (HEADER_SIZE + i * POINTER.size + KEY.size for i in range(2))
    block[second : second + 8] = block[first : first + 8]
    seal(image, block, node)
    with pytest.raises(BuildError, match="is in its tree twice"):
        read_tree(image)
    struct.pack_into("<Q", block, second, node)
    seal(image, block, node)
    with pytest.raises(BuildError, match="is in its tree twice"):
        read_tree(image)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(tree=trees(seconds=(-(1 << 63), (1 << 63) - 1), xattr_size=3000))
def test_any_tree_passes_btrfs_check_and_is_read_back(pack: Pack, check: Check, tree: Tree) -> None:
    image = pack(tree, size_buffer_mb=1)
    check(image)
    assert described(read_tree(image)) == described(tree)
