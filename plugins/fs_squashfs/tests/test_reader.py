"""Images read back: ours, mksquashfs's, and corrupt ones."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import mounted, need_root, need_tool, run
from fledge.testing.trees import EPOCH, SECOND, data, differences, hard_tree, sparse
from fledge.tree.content import Content
from fledge.tree.inode import BlockDevice, CharDevice, Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.tree import Tree
from fledge_fs_squashfs.driver import Squashfs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MIB = 1 << 20


def described(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    """What a tree says, with the first name of each inode, so that hard links show."""
    first: dict[int, bytes] = {}
    found = {}
    for path, inode in tree.walk():
        name = first.setdefault(id(inode), path)
        detail: object = None
        if isinstance(inode, File):
            detail = inode.content.read()
        elif isinstance(inode, Symlink):
            detail = inode.target
        elif isinstance(inode, Device):
            detail = inode.major, inode.minor
        seconds = min(max(inode.mtime // SECOND, 0), 2**32 - 1)
        found[path] = (type(inode), name, inode.mode, inode.uid, inode.gid, seconds, dict(inode.xattrs), detail)
    return found


@pytest.mark.parametrize(
    ("compression", "block_size"),
    [("zstd", 4096), ("zstd", 128 << 10), ("zstd", 1 << 20), ("xz", 4096), ("xz", 64 << 10), ("gzip", 128 << 10)],
)
def test_a_tree_comes_back_as_it_was(pack, compression, block_size):
    tree = hard_tree(block=min(block_size, 64 << 10), acls=False)
    image = pack(tree, compression=compression, block_size=block_size, compression_level=1)
    assert Squashfs.recognizes(image.read_bytes()[: 128 << 10])
    again = Squashfs.read_tree(image)
    assert again.epoch == EPOCH
    assert described(again) == described(tree)


def test_packing_what_was_read_gives_the_same_bytes(pack):
    image = pack(hard_tree(acls=False))
    assert pack(Squashfs.read_tree(image)).read_bytes() == image.read_bytes()


def test_holes_come_back_as_holes(pack):
    root = Directory(0o755)
    root.entries[b"f"] = File(sparse(100 * MIB, (0, b"begin"), (50 * MIB, b"middle")), 0o644)
    inode = Squashfs.read_tree(pack(Tree(root))).root.entries[b"f"]
    assert isinstance(inode, File)
    assert [(piece.offset, piece.length) for piece in inode.content.pieces] == [(0, 1 << 17), (50 * MIB, 1 << 17)]


names = st.binary(min_size=1, max_size=255).filter(lambda n: n not in (b".", b"..") and not {0, 47} & set(n))
xattrs = st.dictionaries(
    st.sampled_from([b"user.", b"trusted.", b"security."]).flatmap(
        lambda p: st.binary(min_size=1, max_size=20).filter(lambda n: 0 not in n).map(lambda n: p + n)
    ),
    st.binary(max_size=100) | st.builds(lambda: b"shared" * 50),
    max_size=3,
)
common = {
    "mode": st.integers(0, 0o7777),
    "uid": st.integers(0, 2**32 - 1),
    "gid": st.integers(0, 2**32 - 1),
    "mtime": st.integers(-(10**18), 2**33 * SECOND),
    "xattrs": xattrs,
}
contents = st.one_of(
    st.binary(max_size=20),
    st.builds(lambda part, count: part * count, st.binary(min_size=1, max_size=9), st.integers(0, 3000)),
    st.builds(data, st.integers(0, 20_000), st.integers(0, 3)),
    st.builds(
        lambda head, zeros: head + bytes(zeros), st.binary(max_size=2), st.sampled_from([4094, 4095, 4096, 8192])
    ),
).map(Content.of) | st.builds(
    lambda size, at, part: sparse(size + at + len(part), (at, part)),
    st.integers(0, 30_000),
    st.integers(0, 30_000),
    st.binary(min_size=1, max_size=50),
)
leaves = st.one_of(
    st.builds(File, contents, **common),
    st.builds(Symlink, st.binary(min_size=1, max_size=300).filter(lambda t: 0 not in t), **common),
    st.builds(CharDevice, st.integers(0, 4095), st.integers(0, 2**20 - 1), **common),
    st.builds(BlockDevice, st.integers(0, 4095), st.integers(0, 2**20 - 1), **common),
    st.builds(Fifo, **common),
    st.builds(Socket, **common),
)


def folder(attributes: dict[str, object], entries: dict[bytes, Inode]) -> Directory:
    directory = Directory(**attributes)
    directory.entries = entries
    return directory


inodes = st.recursive(
    leaves,
    lambda below: st.builds(folder, st.fixed_dictionaries(common), st.dictionaries(names, below, max_size=6)),
    max_leaves=25,
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    root = folder(draw(st.fixed_dictionaries(common)), draw(st.dictionaries(names, inodes, max_size=8)))
    tree = Tree(root)
    places = [inode for _, inode in tree.walk() if isinstance(inode, Directory)]
    for _, inode in list(tree.walk()):
        if not isinstance(inode, Directory) and draw(st.booleans()):
            draw(st.sampled_from(places)).entries.setdefault(draw(names), inode)
    return tree


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
def test_any_tree_comes_back_as_it_was(pack, tree):
    image = pack(tree, block_size=4096, compression_level=1)
    assert described(Squashfs.read_tree(image)) == described(tree)
    image.unlink()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
def test_unsquashfs_reads_any_tree(pack, tree):
    image = pack(tree, block_size=4096, compression_level=1)
    done = run(need_tool("unsquashfs", "squashfs-tools"), "-lls", image)
    assert done.stderr == ""
    image.unlink()


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
@pytest.mark.parametrize(
    "extra", [[], ["-always-use-fragments", "-b", "4096"], ["-noI", "-noD", "-noF", "-noX", "-noId"]], ids=str
)
def test_images_of_mksquashfs(pack, tmp_path, compression, extra):
    need_root()
    tree = hard_tree(acls=False)
    with mounted(pack(tree), "squashfs") as folder:
        image = tmp_path / "theirs.img"
        tool = need_tool("mksquashfs", "squashfs-tools")
        run(tool, folder, image, "-comp", compression, "-noappend", "-no-progress", *extra)
    again = Squashfs.read_tree(image)
    # mksquashfs gives the root's mode and owner, but clears nothing else.
    assert described(again) == described(tree)
    with mounted(image, "squashfs") as folder:
        assert differences(again, folder) == []


@pytest.mark.parametrize("compression", ["lz4", "lzo"])
def test_compressors_that_we_do_not_have_are_named(tmp_path, compression):
    (tmp_path / "in").mkdir()
    image = tmp_path / "theirs.img"
    run(need_tool("mksquashfs", "squashfs-tools"), tmp_path / "in", image, "-comp", compression, "-no-progress")
    with pytest.raises(BuildError, match=f"it is compressed with {compression}; gzip, xz and zstd can be read$"):
        Squashfs.read_tree(image)


def walk_all(path: Path) -> int:
    """Reads every byte of an image."""
    size = 0
    for _, inode in Squashfs.read_tree(path).walk():
        if isinstance(inode, File) and inode.content.size < 64 * MIB:
            size += sum(map(len, inode.content.chunks()))
    return size


@pytest.mark.parametrize(
    ("offset", "form", "value", "message"),
    [
        (0, "<I", 0, "it does not begin with a squashfs superblock"),
        (28, "<H", 3, "it is squashfs 3.0; only 4.0 can be read"),
        (12, "<I", 100_000, "its block size 100000"),
        (12, "<I", 4096, r"its block size 4096 \(2\^17\)"),
        (20, "<H", 9, "the unknown compressor 9"),
        (20, "<H", 2, "compressed with lzma"),
        (40, "<Q", 1 << 40, "it is cut short"),
        (64, "<Q", 1 << 40, "a table of it starts outside"),
        (72, "<Q", 5, "a table of it starts outside"),
        (26, "<H", 1, "owner that is not in the id table"),
        (32, "<Q", 0, "root is not a directory"),
        (32, "<Q", 1 << 60, "reaches past its end"),
    ],
)
def test_a_corrupt_superblock_is_told(pack, offset, form, value, message):
    image = pack(hard_tree(acls=False))
    raw = bytearray(image.read_bytes())
    struct.pack_into(form, raw, offset, value)
    image.write_bytes(raw)
    with pytest.raises(BuildError, match=message) as caught:
        walk_all(image)
    assert str(image) in caught.value.message


@pytest.mark.parametrize("size", [0, 1, 95, 96, 4096, 100_000])
def test_a_cut_image_is_told(pack, size):
    image = pack(hard_tree(acls=False))
    os.truncate(image, size)
    with pytest.raises(BuildError):
        walk_all(image)


def test_a_missing_image_is_told(tmp_path):
    with pytest.raises(BuildError, match="No such file"):
        Squashfs.read_tree(tmp_path / "none")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("compression", ["zstd", "xz", "gzip"])
def test_random_damage_is_an_error_or_nothing(pack, compression):
    """Never a hang, another exception, or memory without bound."""
    root = Directory(0o755)
    for i in range(300):
        root.entries[b"f%d" % i] = File(
            Content.of(b"%d" % i * (i % 90)), 0o644, uid=i % 5, xattrs={b"user.x": b"%d" % (i % 3)}
        )
    root.entries[b"large"] = File(Content.of(data(20_000, 1)), 0o644)
    below = root.entries[b"d"] = Directory(0o700)
    below.entries[b"link"] = Symlink(b"../f1")
    below.entries[b"holes"] = File(sparse(MIB, (5000, b"x")), 0o600)
    image = pack(Tree(root), compression=compression, block_size=4096, compression_level=1)
    whole = image.read_bytes()
    source = random.Random(compression)
    told = 0
    for _ in range(150):
        raw = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            raw[source.randrange(len(raw))] = source.randrange(256)
        image.write_bytes(raw)
        try:
            walk_all(image)
        except BuildError:
            told += 1
    assert told


class Forged:
    """An image of one metadata block a table, with whatever inodes and listings a test wants."""

    def __init__(self, inodes: bytes, listings: bytes, root: int = 0) -> None:
        def block(raw: bytes) -> bytes:
            return struct.pack("<H", 0x8000 | len(raw)) + raw

        body = bytearray(96)
        inode_table = len(body)
        body += block(inodes)
        directory_table = len(body)
        body += block(listings)
        ids = len(body)
        body += block(bytes(4))
        id_table = len(body)
        body += struct.pack("<Q", ids)
        none = (1 << 64) - 1
        body[:96] = struct.pack(
            "<4sIIIIHHHHHHQQQQQQQQ", b"hsqs", 1, 0, 4096, 0, 1, 12, 0x200, 1, 4, 0, root, len(body),
            id_table, none, inode_table, directory_table, directory_table, none,
        )  # fmt: skip
        self.raw = bytes(body)


def directory(size: int) -> bytes:
    return struct.pack("<HHHHIIIIHHI", 1, 0o755, 0, 0, 0, 1, 0, 2, size, 0, 2)


def test_a_directory_in_itself_is_told(tmp_path):
    listing = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 0, 0, 1, 0) + b"d"
    path = tmp_path / "loop.img"
    path.write_bytes(Forged(directory(len(listing) + 3), listing).raw)
    with pytest.raises(BuildError, match="a directory stands in it twice"):
        Squashfs.read_tree(path)


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"nul\0"])
def test_a_name_that_leads_elsewhere_is_told(tmp_path, name):
    listing = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 0, 0, 1, len(name) - 1) + name
    path = tmp_path / "name.img"
    path.write_bytes(Forged(directory(len(listing) + 3), listing).raw)
    with pytest.raises(BuildError, match="is no name of a file"):
        Squashfs.read_tree(path)


def test_a_file_that_starts_far_away_is_told(tmp_path):
    listing = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 32, 1, 2, 0) + b"f"
    far = struct.pack("<HHHHIIQQQIIII", 9, 0o644, 0, 0, 0, 2, (1 << 64) - 1, 4096, 0, 1, 0xFFFFFFFF, 0, 0xFFFFFFFF)
    path = tmp_path / "far.img"
    path.write_bytes(Forged(directory(len(listing) + 3) + far + struct.pack("<I", 5), listing).raw)
    with pytest.raises(BuildError, match="a file's blocks start at 18446744073709551615"):
        Squashfs.read_tree(path)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(BuildError, match="Is a directory"):
        Squashfs.read_tree(tmp_path)


def test_a_file_of_exabytes_is_told_before_memory_runs_out(tmp_path):
    listing = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 32, 1, 2, 0) + b"f"
    large = struct.pack("<HHHHIIQQQIIII", 9, 0o644, 0, 0, 0, 2, 96, 1 << 62, 0, 1, 0xFFFFFFFF, 0, 0xFFFFFFFF)
    path = tmp_path / "large.img"
    path.write_bytes(Forged(directory(len(listing) + 3) + large, listing).raw)
    with pytest.raises(BuildError, match="its metadata takes more than 512 MiB"):
        Squashfs.read_tree(path)


def test_recognizes_only_its_own():
    assert not Squashfs.recognizes(b"")
    assert not Squashfs.recognizes(b"sqsh" + bytes(200))
    assert not Squashfs.recognizes(bytes(2048))
