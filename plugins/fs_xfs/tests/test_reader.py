"""The reader: our own images, those of mkfs.xfs and the kernel, and broken ones."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.any_tree import trees
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, MINIMAL_ACL, data, described, differences, folder_with, sparse
from fledge.tree.content import EMPTY
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge_fs_xfs.checksum import seal
from fledge_fs_xfs.driver import Xfs
from fledge_fs_xfs.reader import read_tree
from hypothesis import HealthCheck, given, settings

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]
Make = Callable[[], Tree]
Shown = Callable[[Tree], Tree]

BLOCK = 4096


def test_what_was_read_is_packed_into_the_same_bytes(pack: Pack, hard: Make) -> None:
    one = pack(hard(), "one.img")
    two = pack(read_tree(one), "two.img")
    run("cmp", one, two)


def test_holes_are_still_holes(pack: Pack) -> None:
    tree = Tree(Directory(0o755))
    tree.root.entries[b"f"] = File(sparse(9 << 30, (5 << 30, data(5000))), 0o644)
    read = read_tree(pack(tree)).root.entries[b"f"]
    assert isinstance(read, File)
    assert [(piece.offset, piece.length) for piece in read.content.pieces] == [(5 << 30, 8192)]


def fill(top: Path) -> None:
    """Makes one of everything that the kernel's xfs makes on its own: all forms of folders, attributes and extents."""
    top.chmod(0o751)
    for name, count in (("inside", 5), ("block", 40), ("leaf", 300), ("node", 2500)):
        (top / name).mkdir()
        for i in range(count):
            (top / name / f"entry-{i}").write_bytes(b"%d" % i)
    for i in range(0, 2500, 3):
        (top / "node" / f"entry-{i}").unlink()
    (top / "file").write_bytes(data(100_001))
    os.link(top / "file", top / "link")
    with open(top / "sparse", "wb") as file:
        for i in range(400):
            file.seek(i * 100_000)
            file.write(data(5000, i))
            if i % 20 == 0:
                os.fsync(file.fileno())
        file.truncate(50_000_000)
        os.posix_fallocate(file.fileno(), 45_000_000, 100_000)
    for length in (10, 59, 60, 336, 337, 1023):
        (top / f"symlink-{length}").symlink_to("t" * length)
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o060660, os.makedev(259, 70_000))
    os.mkfifo(top / "fifo")
    os.chown(top / "fifo", 70_000, 80_000)
    os.setxattr(top / "file", "user.small", b"value")
    os.setxattr(top / "node", "trusted.large", data(700))
    os.setxattr(top / "inside", "user.remote", data(60_000))
    for i in range(300):
        os.setxattr(top / "block", f"user.attribute-{i}", b"%d" % i * 20)
    for i in range(0, 300, 2):
        os.removexattr(top / "block", f"user.attribute-{i}")
    os.setxattr(top / "leaf", "user.gone", data(3000))
    os.removexattr(top / "leaf", "user.gone")
    os.setxattr(top / "sparse", "system.posix_acl_access", MINIMAL_ACL)
    os.utime(top / "file", ns=(EPOCH, 1_234_567_890_123_456_789))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-m", "rmapbt=1"),
        ("-m", "bigtime=0,reflink=0,finobt=0"),
        ("-b", "size=1024"),
        ("-b", "size=1024", "-n", "size=4096", "-i", "size=512"),
        ("-n", "size=16384", "-i", "size=2048"),
        ("-s", "size=4096"),
        ("-d", "agcount=3", "-i", "sparse=0"),
        ("-l", "sunit=64"),
        ("-i", "nrext64=1"),
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_images_that_mkfs_and_the_kernel_made_are_read(tmp_path: Path, shown: Shown, options: tuple[str, ...]) -> None:
    need_root()
    image = tmp_path / "made.img"
    image.touch()
    os.truncate(image, 320 << 20)
    run(need_tool("mkfs.xfs", "xfsprogs"), "-q", *options, image)
    with mounted(image, "xfs", writable=True) as folder:
        fill(folder)
    with mounted(image, "xfs") as folder:
        assert differences(shown(read_tree(image)), folder) == []


def test_a_folder_whose_inodes_have_numbers_above_32_bits_is_read(tmp_path: Path, shown: Shown) -> None:
    # Beyond 1 TiB: the kernel puts new folders into other groups. It writes all numbers of a folder as wide as the
    # widest and counts the wide ones only.
    need_root()
    image = tmp_path / "made.img"
    image.touch()
    os.truncate(image, 4 << 40)
    run(need_tool("mkfs.xfs", "xfsprogs"), "-q", "-l", "size=96m", image)
    with mounted(image, "xfs", writable=True) as folder:
        for i in range(6):
            (folder / f"folder-{i}").mkdir()
            (folder / f"folder-{i}" / "file").touch()
        assert len({path.stat().st_ino >> 32 == 0 for path in folder.iterdir()}) == 2
    with mounted(image, "xfs") as folder:
        assert differences(shown(read_tree(image)), folder) == []


def test_a_changed_uuid_is_read(pack: Pack, hard: Make) -> None:
    image = pack(hard())
    run(need_tool("xfs_admin", "xfsprogs"), "-U", "generate", image)
    assert described(read_tree(image)) == described(hard())
    with mounted(image, "xfs", writable=True) as folder:
        (folder / "new").touch()
    assert read_tree(image).root.entries.keys() > {b"new"}


def test_what_was_not_unmounted_is_an_error(tmp_path: Path, pack: Pack, fsck: Fsck) -> None:
    image = pack(Tree(Directory(0o755)))
    copy = tmp_path / "copy.img"
    with mounted(image, "xfs", writable=True) as folder:
        (folder / "file").write_bytes(b"x")
        os.sync()
        run("cp", "--sparse=always", image, copy)
    with pytest.raises(BuildError, match="its log is to be replayed first"):
        read_tree(copy)
    assert read_tree(image).root.entries.keys() == {b"file"}
    with mounted(copy, "xfs", writable=True):
        pass
    fsck(copy)
    assert read_tree(copy).root.entries.keys() == {b"file"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-m", "crc=0"), "of a version before 5"),
        (("-n", "version=ci"), "finds names in either case, which is not supported"),
        (("-l", "logdev=log.img,size=64m"), "has its log on another device, which is not supported"),
    ],
)
def test_what_is_not_supported_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "t.img"
    for name in (image.name, "log.img"):
        Path(name).touch()
        os.truncate(name, 300 << 20)
    run(need_tool("mkfs.xfs", "xfsprogs"), "-q", *options, image)
    assert Xfs.recognizes(image.read_bytes()[: 128 << 10])
    with pytest.raises(BuildError, match=message):
        read_tree(image)


@pytest.mark.parametrize("head", [b"", b"hsqs", bytes(2000), b"070701" + bytes(3000), b"XFS"])
def test_other_files_are_not_recognized(head: bytes) -> None:
    assert not Xfs.recognizes(head)


def test_the_kernel_needs_xfs() -> None:
    (feature,) = Xfs.kernel_features(b"XFSB")
    assert (feature.symbol, feature.module) == ("XFS_FS", "xfs")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"can't read .*: No such file or directory"):
        read_tree(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 100, 511, 512, 3000, 100_000, 200 << 20])
def test_a_file_that_is_cut_short(pack: Pack, hard: Make, size: int) -> None:
    image = pack(hard())
    os.truncate(image, size)
    with pytest.raises(BuildError, match="is not an xfs image that can be read"):
        read_tree(image)


HEAD = 160 * BLOCK
"""All metadata of the trees that are broken here stand before it."""
Magic = tuple[int, bytes]
Change = Callable[[bytearray], None]

SUPERBLOCK, INODES, FOLDER_LEAF = (0, b"XFSB"), (0, b"IN"), (8, b"\x3d\xff")
ATTRIBUTE_LEAF, NODE = (8, b"\x3b\xee"), (8, b"\x3e\xbe")
CHECKSUMS: dict[Magic, int] = {
    SUPERBLOCK: 224,
    INODES: 100,
    (0, b"XDB3"): 4,
    (0, b"XDD3"): 4,
    (0, b"XDF3"): 4,
    (0, b"BMA3"): 64,
    (0, b"XARM"): 12,
    (0, b"XSLM"): 12,
    (8, b"\x3d\xf1"): 12,
    FOLDER_LEAF: 12,
    ATTRIBUTE_LEAF: 12,
    NODE: 12,
}
"""By magic, and where that is in a block: where the checksum is."""


def metadata(image: Path) -> dict[Magic, dict[int, bytes]]:
    """The blocks of each kind by their place."""
    with open(image, "rb") as file:
        head = file.read(HEAD)
    found: dict[Magic, dict[int, bytes]] = {}
    for at in range(0, HEAD, BLOCK):
        for magic in CHECKSUMS:
            if head.startswith(magic[1], at + magic[0]):
                found.setdefault(magic, {})[at] = head[at : at + BLOCK]
    return found


def put(image: Path, at: int, block: bytes, magic: Magic) -> None:
    """Writes a block with checksums that are right, so that the broken numbers themselves are met."""
    where = CHECKSUMS[magic]
    size = 512 if magic in (SUPERBLOCK, INODES) else BLOCK
    count = 1 if magic == SUPERBLOCK else BLOCK // size
    parts = [block[start : start + size] for start in range(0, count * size, size)]
    with open(image, "r+b") as file:
        file.seek(at)
        file.write(b"".join([seal(part[:where] + bytes(4) + part[where + 4 :], where) for part in parts]))


def test_broken_images_are_an_error_or_a_tree_and_never_a_crash_or_a_loop(pack: Pack, hard: Make) -> None:
    tree = hard()
    tree.root.entries[b"leaf"] = folder_with(dict.fromkeys([b"%d" % i for i in range(300)], File(EMPTY, 0o644)))
    tree.root.entries[b"extents"] = File(sparse(120 * BLOCK, *[(i * 2 * BLOCK, b"%d" % i) for i in range(60)]), 0o644)
    attributes = {b"user.%d" % i: data(300, i) for i in range(30)} | {b"user.remote": data(6000)}
    tree.root.entries[b"attributes"] = File(EMPTY, 0o644, xattrs=attributes)
    image = pack(tree)
    blocks = metadata(image)
    assert blocks.keys() == CHECKSUMS.keys()
    randomly = random.Random(3)
    noticed = []
    for magic in sorted(CHECKSUMS) * 25:
        at, sound = randomly.choice(list(blocks[magic].items()))
        broken = bytearray(sound)
        places = [place for place in range(512 if magic == SUPERBLOCK else BLOCK) if sound[place]]
        for place in randomly.choices(places, k=randomly.choice((1, 2, 5, 50))):
            broken[place] = randomly.choice((0, 1, 0x7F, 0x80, 0xFF, randomly.randrange(256)))
        put(image, at, bytes(broken), magic)
        try:
            described(read_tree(image))
        except BuildError:
            noticed.append(magic)
        put(image, at, sound, magic)
    assert set(noticed) == set(CHECKSUMS)
    assert len(noticed) < 25 * len(CHECKSUMS)
    assert described(read_tree(image)) == described(tree)


@pytest.mark.parametrize("seed", range(12))
def test_a_wrong_bit_in_the_metadata_is_found_by_its_checksum(pack: Pack, hard: Make, seed: int) -> None:
    image = pack(hard())
    randomly = random.Random(seed)
    with open(image, "r+b") as file:
        sound = file.read(HEAD)
        inode = randomly.randrange(128, 800) * 512
        at = randomly.choice([at for at in range(inode, inode + 512) if sound[at]])
        file.seek(at)
        file.write(bytes((sound[at] ^ 1 << seed % 8,)))
    with pytest.raises(BuildError, match=r"has a wrong checksum|is not there"):
        described(read_tree(image))


def edit(image: Path, magic: Magic, change: Change) -> None:
    """Changes the first block of a kind."""
    at, sound = next(iter(metadata(image)[magic].items()))
    block = bytearray(sound)
    change(block)
    put(image, at, bytes(block), magic)


def add(count: int, at: int) -> Change:
    """Adds to the number of four bytes at `at`."""

    def change(block: bytearray) -> None:
        struct.pack_into(">I", block, at, struct.unpack_from(">I", block, at)[0] + count)

    return change


def copy(size: int, source: int, target: int) -> Change:
    """Overwrites `target`."""

    def change(block: bytearray) -> None:
        block[target : target + size] = block[source : source + size]

    return change


def swap(size: int, one: int, other: int) -> Change:
    """Exchanges two parts of the same size."""

    def change(block: bytearray) -> None:
        block[one : one + size], block[other : other + size] = block[other : other + size], block[one : one + size]

    return change


def test_a_name_that_the_index_does_not_find_is_an_error(pack: Pack, hard: Make) -> None:
    image = pack(hard())
    edit(image, FOLDER_LEAF, add(1, 64))
    with pytest.raises(BuildError, match="has an index that does not fit its entries"):
        read_tree(image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add(-1, 216), "folders without file types"),  # sb_features_incompat
        (add(0x100, 216), r"features that are not supported \(incompat 0x100\)"),
        (add(1 << 20, 96), "sizes that can't be"),  # sb_logblocks
    ],
)
def test_a_superblock_that_can_not_be(pack: Pack, change: Change, message: str) -> None:
    image = pack(Tree(Directory(0o755)))
    edit(image, SUPERBLOCK, change)
    with pytest.raises(BuildError, match=message):
        read_tree(image)


ENTRIES = [80 + i * 8 for i in range(4)]
"""Of an attribute leaf: hash, place of the body, flags."""
INODE_131 = 3 * 512
EXTENT_131 = INODE_131 + 176 + 192
"""Where the attributes of the first inode behind the root and the reserved ones are."""


def map_twice(block: bytearray) -> None:
    high, low = struct.unpack_from(">QQ", block, EXTENT_131)
    struct.pack_into(">QQ", block, EXTENT_131 + 16, high + (100 << 9), low)
    struct.pack_into(">H", block, INODE_131 + 80, 2)  # di_anextents


@pytest.mark.parametrize(
    ("magic", "change", "message"),
    [
        (ATTRIBUTE_LEAF, add(1, ENTRIES[3]), "a name that its hash does not find"),
        (ATTRIBUTE_LEAF, swap(8, ENTRIES[0], ENTRIES[1]), "hashes out of order"),
        (ATTRIBUTE_LEAF, copy(8, ENTRIES[1], ENTRIES[2]), "upon another one"),
        # The bodies of the last two, which begin with the first block of the value.
        (ATTRIBUTE_LEAF, copy(4, 1156, 1136), "a block that is read twice"),
        (NODE, copy(4, 64 + 8 + 4, 64 + 4), "leaves out of order"),
        (INODES, add(1 << 31, EXTENT_131), "unwritten blocks"),
        (INODES, map_twice, "one block in two places"),
    ],
)
def test_broken_attributes_are_an_error(pack: Pack, magic: Magic, change: Change, message: str) -> None:
    # By rising hash: two in the leaf, then two whose values have blocks of their own.
    attributes = {
        b"user.small": b"1",
        b"user.large": bytes(2900),
        **dict.fromkeys((b"user.remote-1", b"user.remote-2"), data(4000)),
    }
    if magic == NODE:
        attributes |= {b"user.%d" % i: bytes(200) for i in range(40)}
    tree = Tree(Directory(0o755))
    tree.root.entries[b"f"] = File(EMPTY, 0o644, xattrs=attributes)
    image = pack(tree)
    edit(image, magic, change)
    with pytest.raises(BuildError, match=f"inode 131 has .*{message}"):
        read_tree(image)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(tree=trees(seconds=(-(1 << 31), 16_299_260_424), entries=40, target_size=400, major=511, minor=262_143))
def test_any_tree_passes_xfs_repair_and_is_read_back(pack: Pack, fsck: Fsck, tree: Tree) -> None:
    image = pack(tree)
    fsck(image)
    assert described(read_tree(image)) == described(tree)
