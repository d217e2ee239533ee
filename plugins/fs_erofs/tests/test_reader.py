"""The reader: our own images, those of mkfs.erofs, and broken ones."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import (
    EPOCH,
    MINIMAL_ACL,
    data,
    described,
    differences,
    folder_with,
    hard_tree,
    sparse,
    tree_with,
)
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import Directory, File, Symlink
from fledge.tree.tree import Tree
from fledge_fs_erofs import format as fs
from fledge_fs_erofs.driver import Erofs
from fledge_fs_erofs.image import Image, RawInode
from fledge_fs_erofs.reader import read_tree
from fledge_fs_erofs.superblock import seal

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]

BLOCK = 4096
SUPERBLOCK = 1024
TEXT = b"".join(b"line %d of a text that compresses well\n" % i for i in range(30_000))


def hard_tree_with_text() -> Tree:
    tree = hard_tree()
    for size in (100, 5000, 131_072, 140_000, len(TEXT)):
        tree.root.entries[b"text-%d" % size] = File(Content.of(TEXT[:size]), 0o644)
        tree.root.entries[b"both-%d" % size] = File(Content.of(TEXT[:size] + data(size % 200_000)), 0o644)
    return tree


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_our_images_are_read_back(pack: Pack, compression: str) -> None:
    tree = hard_tree_with_text()
    assert described(read_tree(pack(tree, compression=compression))) == described(tree)


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_what_was_read_is_packed_into_the_same_bytes(pack: Pack, compression: str) -> None:
    one = pack(hard_tree_with_text(), "one.img", epoch=1, compression=compression)
    two = pack(read_tree(one), "two.img", epoch=1, compression=compression)
    assert two.read_bytes() == one.read_bytes()


def test_holes_are_still_holes(pack: Pack) -> None:
    read = read_tree(pack(tree_with({b"f": File(sparse(1 << 20, (3 << 18, data(5000))), 0o644)}))).root.entries[b"f"]
    assert isinstance(read, File)
    assert [(piece.offset, piece.length) for piece in read.content.pieces] == [(3 << 18, 8192)]


def test_a_part_of_a_compressed_file_is_read(pack: Pack) -> None:
    read = read_tree(pack(tree_with({b"f": File(Content.of(TEXT), 0o644)}))).root.entries[b"f"]
    assert isinstance(read, File)
    (piece,) = read.content.pieces
    for start, length in ((0, 1), (131_071, 2), (5, 600_000), (len(TEXT) - 3, 3), (7, 0)):
        assert piece.source.view(start, length) == TEXT[start : start + length]


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-Enoinline_data",
        "-T0",
        "--chunksize=4096",
        "--chunksize=65536",
        "-zlz4",
        "-zlz4hc,6",
        "-zlz4 -C16384",
        "-zlz4 -C65536",
        "-zlz4 -C1048576",
        "-zlz4 -Eztailpacking",
        "-zlz4 -C65536 -Eztailpacking",
        "-zlz4 --max-extent-bytes=10000",
    ],
)
def test_images_that_mkfs_erofs_made_are_read(tmp_path: Path, options: str) -> None:
    need_root()
    top = tmp_path / "top"
    top.mkdir(0o751)
    (top / "folder").mkdir()
    for i in range(900):
        (top / "folder" / f"entry-{i}").write_bytes(b"%d" % i)
    for size in (1, 3000, 4096, 5000, 70_000, 131_073, len(TEXT)):
        (top / f"text-{size}").write_bytes(TEXT[:size])
        (top / f"noise-{size}").write_bytes(data(size, size))
        (top / f"both-{size}").write_bytes(TEXT[: size // 2] + data(size // 3) + TEXT[:size])
    (top / "zeros").write_bytes(bytes(3 << 20))
    (top / "empty").touch()
    os.link(top / "text-5000", top / "link")
    for length in (10, 700, 4000):
        (top / f"symlink-{length}").symlink_to("t" * length)
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o060660, os.makedev(259, 70_000))
    os.mkfifo(top / "fifo")
    os.chown(top / "fifo", 70_000, 80_000)
    for path in ("text-5000", "zeros", "folder", "noise-1", "both-4096"):
        os.setxattr(top / path, "user.several", b"have this value")
        os.setxattr(top / path, "trusted.own", path.encode())
    os.setxattr(top / "empty", "system.posix_acl_access", MINIMAL_ACL)
    os.utime(top / "empty", ns=(EPOCH, 4_000_000_000_123_456_789))
    image = tmp_path / "mkfs.img"
    run(need_tool("mkfs.erofs", "erofs-utils"), "--quiet", *options.split(), image, top)
    assert Erofs.recognizes(image.read_bytes()[: 128 << 10])
    with mounted(image, "erofs") as folder:
        assert differences(read_tree(image), folder) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-zlz4 -Elegacy-compress", "its compressed data do not tell where they begin, which is not supported"),
        ("--chunksize=4096 --blobdev={}/blob", "it has features that are not supported (0x8)"),
    ],
    ids=["no-0padding", "two-devices"],
)
def test_what_of_mkfs_erofs_is_not_supported_is_said(tmp_path: Path, options: str, message: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").write_bytes(TEXT)
    image = tmp_path / "t.img"
    run(need_tool("mkfs.erofs", "erofs-utils"), "--quiet", *options.format(tmp_path).split(), image, top)
    with pytest.raises(BuildError, match=re.escape(message)):
        read_tree(image)


@pytest.mark.parametrize("head", [b"", b"hsqs", bytes(2000), b"070701" + bytes(3000), fs.MAGIC * 3])
def test_other_files_are_not_recognized(head: bytes) -> None:
    assert not Erofs.recognizes(head)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"can't read .*: No such file or directory"):
        read_tree(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 1000, 1100, 4095, 4096, 100_000])
def test_a_file_that_is_cut_short(pack: Pack, size: int) -> None:
    image = pack(hard_tree())
    os.truncate(image, size)
    with pytest.raises(BuildError, match="is not an erofs image that can be read"):
        read_tree(image)


class Patient:
    """An image that is damaged on purpose, with a checksum that is right again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = bytearray(path.read_bytes())
        self.image = Image(path)
        self.root = self.image.inode(self.image.superblock.root)
        self.inodes = {name: self.image.inode(nid) for name, nid, _ in self.image.entries(self.root)}

    def inode(self, name: bytes) -> int:
        """Where the inode of a name in the root stands."""
        return (self.image.superblock.metadata << 12) + self.inodes[name].nid * fs.SLOT

    def entry(self, number: int) -> int:
        """Where an entry of the root stands; the first two are `.` and `..`."""
        return self.image.tail(self.root) + number * fs.DIRENT.size

    def put(self, at: int, data: bytes) -> None:
        self.bytes[at : at + len(data)] = data

    def error(self) -> str:
        self.path.write_bytes(seal(bytes(self.bytes[SUPERBLOCK:BLOCK])) + self.bytes[BLOCK:])
        with pytest.raises(BuildError) as caught:
            described(read_tree(self.path))
        message = caught.value.message
        assert message.startswith(f"{self.path} is not an erofs image that can be read: ")
        return message


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


@pytest.fixture
def patient(pack: Pack) -> Patient:
    return Patient(
        pack(
            tree_with(
                {
                    b"a": Directory(0o755),
                    b"b": Directory(0o755),
                    b"c": File(Content.of(TEXT), 0o644),
                    b"d": File(sparse(9 * BLOCK, (BLOCK, b"x")), 0o644),
                    b"e": File(Content.of(b"inline"), 0o644, xattrs={b"user.name": b"value"}),
                    b"f": Symlink(b"target"),
                    b"g": folder_with({b"name-%d" % i: File(EMPTY, 0o644) for i in range(2000)}),
                    **{b"h%03d" % i: Directory(0o755) for i in range(30)},
                }
            )
        )
    )


def test_the_patient_is_well_before_the_operation(patient: Patient) -> None:
    patient.path.write_bytes(seal(bytes(patient.bytes[SUPERBLOCK:BLOCK])) + patient.bytes[BLOCK:])
    described(read_tree(patient.path))


def test_a_wrong_bit_in_the_superblock_is_found_by_its_checksum(patient: Patient) -> None:
    patient.bytes[SUPERBLOCK + 50] ^= 1
    patient.path.write_bytes(patient.bytes)
    with pytest.raises(BuildError, match="the superblock's checksum is wrong"):
        read_tree(patient.path)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (12, b"\x10", "it has blocks of 2^16 bytes"),
        (36, number(1 << 31, 4), "it has .* bytes instead of"),
        (80, number(1 << 5, 4), "it has features that are not supported (0x20)"),
        (84, number(2, 2), "it is compressed with the algorithms 0x2"),
        (86, number(1, 2), "it has features that are not supported"),
        (40, number(1 << 31, 4), "reaches past its end"),
        (14, number(65_535, 2), "reaches past its end"),
    ],
)
def test_superblocks_that_are_not_to_be_believed(patient: Patient, at: int, value: bytes, message: str) -> None:
    patient.put(SUPERBLOCK + at, value)
    assert message.split(".*")[0] in patient.error()


def test_the_root_is_a_directory(patient: Patient) -> None:
    patient.put(SUPERBLOCK + 14, number(patient.inodes[b"e"].nid, 2))
    assert "its root is not a directory" in patient.error()


def test_a_directory_with_two_names(patient: Patient) -> None:
    for target in (patient.root.nid, patient.inodes[b"b"].nid):
        patient.put(patient.entry(2), number(target, 8))
        assert f"directory inode {target} has two names" in patient.error()


def test_an_entry_with_another_type_than_its_inode(patient: Patient) -> None:
    patient.put(patient.entry(2) + 10, b"\1")
    assert "has a wrong file type for b'a'" in patient.error()


@pytest.mark.parametrize("name", [b"/", b"\0", b"c", b"z"], ids=["slash", "empty", "twice", "unsorted"])
def test_names_that_can_not_be(patient: Patient, name: bytes) -> None:
    first = patient.image.tail(patient.root)
    names = first + fs.DIRENT.unpack_from(patient.bytes, first)[1]
    patient.put(names + 4, name)
    assert "which can't be" in patient.error()


def test_directories_that_share_what_they_list_end_the_reading_soon(patient: Patient) -> None:
    large = patient.inodes[b"g"]
    for name, inode in patient.inodes.items():
        if inode.mode & 0o170000 == 0o040000:
            at = patient.inode(name)
            patient.put(at, number(fs.EXTENDED | fs.FLAT_PLAIN << 1, 2))
            patient.put(at + 8, number(large.size // BLOCK * BLOCK, 8) + number(large.unit, 4))
    assert "its metadata overlap" in patient.error()


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (b"e", 0, "has 0 inline bytes where there is no room"),
        (b"a", 4090, "has 4090 inline bytes where there is no room"),
        (b"a", 1 << 62, "reaches past its end"),
        (b"e", (1 << 62) + 1, "reaches past its end"),
        (b"f", 0, "points to 0 bytes"),
        (b"f", 4096, "points to 4096 bytes"),
        (b"c", 1 << 60, "reaches past its end"),
        (b"d", 1 << 62, "its metadata overlap"),
        (b"c", len(TEXT) + 1, "bytes, not 69243"),
    ],
)
def test_sizes_that_can_not_be(patient: Patient, name: bytes, size: int, message: str) -> None:
    patient.put(patient.inode(name) + 8, number(size, 8))
    assert message in patient.error()


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        (b"a", 0, fs.EXTENDED | 7 << 1, "has the layout 7, which its type can't have"),
        (b"e", 0, fs.EXTENDED | 5 << 1, "has the unknown layout 5"),
        (b"e", 4, 0o170644, "is of the unknown type 0o170000"),
        (b"e", 2, 65_535, "reaches past its end"),
        (b"e", 64 + 4, 200, "an inode with 200 shared xattrs"),
        (b"e", 64 + 12, 4, "an xattr has the unknown prefix 0"),
        (b"e", 64 + 14, 6000, "an xattr is cut short"),
        (b"d", 16, 0x40, "has chunks of the unknown form 0x40"),
        (b"d", 64 + 6, 255, "reaches past its end"),
        (b"c", 64 + 4, 1 << 5, "is compressed in a way that is not supported"),
        (b"c", 64 + 6, 1, "is compressed in a way that is not supported"),
        (b"c", 64 + 7, 1, "is compressed in a way that is not supported"),
        (b"c", 64 + 16, fs.NONHEAD, "does not begin with an extent"),
        (b"c", 64 + 16, 3, "is compressed in a way that is not supported"),
        (b"c", 64 + 16, fs.PLAIN, "has an extent of 131072 bytes in 4096"),
        (b"c", 64 + 16 + 6, 255, "reaches past its end"),
        (b"c", 64 + 24 + 4, fs.BLOCK_COUNT | 2000, "has an extent of 131072 bytes in 8192000"),
    ],
)
def test_inodes_that_can_not_be(patient: Patient, name: bytes, at: int, value: int, message: str) -> None:
    patient.put(patient.inode(name) + at, number(value, 1 if at in (64 + 4, 64 + 6, 64 + 7) and value < 256 else 2))
    assert message in patient.error()


def test_compressed_data_that_are_wrong(patient: Patient) -> None:
    randomly = random.Random(1)
    found = []
    for _ in range(20):
        sound = patient.bytes[:]
        patient.put(randomly.randrange(BLOCK, 10 * BLOCK), bytes(40))
        patient.path.write_bytes(patient.bytes)
        try:
            described(read_tree(patient.path))
        except BuildError as error:
            found.append(error.message)
        patient.bytes = sound
    assert any("the data of inode" in message for message in found)


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_broken_images_are_an_error_or_a_tree_and_never_a_crash_or_a_loop(pack: Pack, compression: str) -> None:
    image = pack(hard_tree_with_text(), compression=compression)
    sound = image.read_bytes()
    opened = Image(image)
    start = opened.superblock.metadata << 12
    randomly = random.Random(3)
    places = [*range(SUPERBLOCK, SUPERBLOCK + 128), *(at for at in range(start, len(sound)) if sound[at])]
    errors = 0
    for _ in range(60):
        broken = bytearray(sound)
        for at in randomly.choices(places, k=randomly.choice((1, 5, 50, 400))):
            broken[at] = randomly.choice((0, 1, 0x7F, 0x80, 0xFF, randomly.randrange(256)))
        image.write_bytes(seal(bytes(broken[SUPERBLOCK:BLOCK])) + broken[BLOCK:])
        try:
            described(read_tree(image))
        except BuildError:
            errors += 1
    assert errors > 20


def test_inodes_without_times_have_that_of_the_superblock(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").write_bytes(b"x")
    image = tmp_path / "t.img"
    run(need_tool("mkfs.erofs", "erofs-utils"), "--quiet", "-T1234567", "-Eforce-inode-compact", image, top)
    opened = Image(image)
    (found,) = (opened.inode(nid) for _, nid, _ in opened.entries(opened.inode(opened.superblock.root)))
    assert isinstance(found, RawInode)
    assert found.mtime == 1_234_567 * 10**9
