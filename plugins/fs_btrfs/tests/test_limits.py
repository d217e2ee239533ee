"""Boundaries: what btrfs holds, to the last byte, and the error for one more."""

from __future__ import annotations

import itertools
import os
import re
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.output import ArtifactFile
from fledge.progress import Progress
from fledge.testing.large_files import assert_sparse, scattered
from fledge.testing.oracles import mounted
from fledge.testing.trees import data, differences, sparse, tree_with
from fledge.tree.content import EMPTY, Content, FileSource, MemorySource, Piece
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge_fs_btrfs import space
from fledge_fs_btrfs.checksum import extref_hash, name_hash
from fledge_fs_btrfs.format import GIB, MAX_FILE, MAX_INLINE, MAX_ITEM, MAX_XATTR, MIB, SECTOR
from fledge_fs_btrfs.links import references
from fledge_fs_btrfs.reader import read_tree
from fledge_fs_btrfs.survey import survey
from fledge_fs_btrfs.writer import Writer

Pack = Callable[..., Path]
Check = Callable[[Path], None]


def proven(pack: Pack, check: Check, tree: Tree, **options: int) -> Path:
    image = pack(tree, **{"size_buffer_mb": 1, **options})
    check(image)
    with mounted(image, "btrfs") as folder:
        assert differences(tree, folder) == []
    return image


def same_hash(count: int, prefix: bytes = b"") -> list[bytes]:
    """Names of one crc32c: it is linear, so letters that can each be flipped give a system of equations to solve."""
    letters = 44
    base = prefix + b"a" * letters
    flips = []
    for i in range(letters):
        flipped = bytearray(base)
        flipped[len(prefix) + i] ^= 3
        flips.append((name_hash(bytes(flipped)) ^ name_hash(base), 1 << i))
    kernel, basis = [], {}
    for value, which in flips:
        while value:
            top = value.bit_length()
            if top not in basis:
                basis[top] = value, which
                break
            value, which = value ^ basis[top][0], which ^ basis[top][1]
        else:
            kernel.append(which)
    names = []
    for chosen in itertools.islice(itertools.product((0, 1), repeat=len(kernel)), count):
        bits = 0
        for take, which in zip(chosen, kernel, strict=True):
            bits ^= which * take
        names.append(prefix + bytes(0x61 ^ (3 * (bits >> i & 1)) for i in range(letters)))
    assert len({name_hash(name) for name in names}) == 1
    assert len(set(names)) == count
    return names


@pytest.mark.parametrize("length", [1, 254, 255], ids=lambda n: f"case_074-{n}")
def test_names(pack: Pack, check: Check, length: int) -> None:
    name = b"\xff" * length
    proven(pack, check, tree_with({name: Directory(0o755), b"f": File(EMPTY, 0o644)}))


def test_case_074_a_name_of_256_bytes_is_an_error(pack: Pack) -> None:
    folder = Directory(0o755)
    folder.entries[b"n" * 256] = File(EMPTY, 0o644)
    with pytest.raises(BuildError, match=r"^/dir: the name n{256} has 256 bytes; btrfs holds 255$"):
        pack(tree_with({b"dir": folder}))


@pytest.mark.parametrize("length", [1, 59, 60, 300, 2047, 2048, 2049, 4094, 4095], ids=lambda n: f"case_075-{n}")
def test_symlinks(pack: Pack, check: Check, length: int) -> None:
    proven(pack, check, tree_with({b"link": Symlink((b"ab/" * 1400)[:length])}))


def test_case_075_a_symlink_of_4096_bytes_is_an_error(pack: Pack) -> None:
    with pytest.raises(BuildError, match=r"^/l points to 4096 bytes; a btrfs symlink holds 4095$"):
        pack(tree_with({b"l": Symlink(b"t" * 4096)}))


@pytest.mark.parametrize(
    ("names", "folders"),
    [(2, 2), (3000, 1), (3000, 3), (65_535, 1)],
    ids=["case_086-2", "case_086-3000", "case_086-3-times-1000", "case_086-65535"],
)
def test_hard_links(pack: Pack, check: Check, names: int, folders: int) -> None:
    # Of one folder, an INODE_REF holds a thousand; the others are found by their hash.
    inode = File(Content.of(b"shared"), 0o644)
    tops = [Directory(0o755) for _ in range(folders)]
    for i in range(names):
        tops[i % folders].entries[b"link-%05d" % i] = inode
    tree = tree_with({b"d%d" % i: top for i, top in enumerate(tops)})
    image = pack(tree, size_buffer_mb=1)
    if names < 10_000:  # btrfs check compares each name with each.
        check(image)
    with mounted(image, "btrfs", writable=True) as folder:
        first = folder / "d0"
        if names < 10_000:
            assert differences(tree, folder) == []
        assert (first / "link-00000").stat().st_nlink == names
        assert {entry.inode() for entry in os.scandir(first)} == {(first / "link-00000").stat().st_ino}
        (first / "link-00000").unlink()
        os.link(folder / f"d{(names - 1) % folders}" / f"link-{names - 1:05}", first / "another")
        for i in range(folders, names, folders * 100):
            (first / f"link-{i:05}").unlink()
    if names < 10_000:
        check(image)


def test_one_hard_link_more_is_an_error(pack: Pack) -> None:
    inode = File(EMPTY, 0o644)
    with pytest.raises(BuildError, match=r"^/l00000 has 65536 hard links; btrfs holds 65535$"):
        pack(tree_with({b"l%05d" % i: inode for i in range(65_536)}))


def test_references_of_one_hash_share_an_item() -> None:
    # What follows the prefix changes the hash alike, whatever the seed.
    names = same_hash(300)
    assert len({extref_hash(256, name) for name in names}) == 1
    filler = [(256, i, b"%05d" % i) for i in range(MAX_ITEM // 15)]
    items = references(filler + [(256, 2000 + i, name) for i, name in enumerate(names[:200])])
    assert [kind for kind, _, _ in items] == [12, 13]
    with pytest.raises(OverflowError):
        references(filler + [(256, 2000 + i, name) for i, name in enumerate(names)])


def test_names_of_one_hash_share_an_item(pack: Pack, check: Check) -> None:
    most = MAX_ITEM // (30 + 44)
    names = same_hash(most + 1)
    tree = tree_with({name: File(Content.of(name), 0o644) for name in names[:most]})
    image = proven(pack, check, tree)
    assert set(read_tree(image).root.entries) == set(names[:most])
    tree.root.entries[names[most]] = File(EMPTY, 0o644)
    with pytest.raises(BuildError, match=r"^/: [ab]{44} shares its hash with more names than btrfs holds$"):
        pack(tree)


def test_case_077_65_000_subfolders(pack: Pack, check: Check) -> None:
    tree = tree_with({b"d%05d" % i: Directory(0o755) for i in range(65_000)})
    image = pack(tree, size_buffer_mb=1)
    check(image)
    with mounted(image, "btrfs", writable=True) as folder:
        assert len(os.listdir(folder)) == 65_000
        (folder / "d64999").rmdir()
        (folder / "one-more").mkdir()
    check(image)


def test_case_078_a_folder_of_100_000_entries(pack: Pack, check: Check) -> None:
    tree = tree_with({b"entry-%06d" % i: File(EMPTY, 0o644) for i in range(100_000)})
    image = pack(tree, size_buffer_mb=1)
    check(image)
    with mounted(image, "btrfs") as folder:
        # Each one is looked up by its hash, too.
        assert len([entry for entry in os.scandir(folder) if entry.stat().st_size == 0]) == 100_000


@pytest.mark.parametrize(
    "xattrs",
    [
        {b"user." + b"n" * 250: b"v"},
        {b"user.x": b"v" * (MAX_XATTR - 6)},
        {b"user.%d" % i: b"v" * 9000 for i in range(30)},
        {b"user.%04d" % i: b"" for i in range(1000)},
        dict.fromkeys(same_hash(100, b"user."), b"v" * 10),
    ],
    ids=["case_079-name", "case_079-value", "case_079-30-of-9000", "case_079-1000", "case_079-one-hash"],
)
def test_xattrs(pack: Pack, check: Check, xattrs: dict[bytes, bytes]) -> None:
    tree = tree_with(
        {b"f": File(Content.of(b"f"), 0o644, xattrs=xattrs), b"d": Directory(0o755, xattrs={**xattrs, b"user.z": b""})}
    )
    proven(pack, check, tree)


@pytest.mark.parametrize(
    ("xattrs", "message"),
    [
        (
            {b"user.x": b"v" * (MAX_XATTR - 5)},
            "/f: extended attribute 'user.x' has 16223 bytes; btrfs holds 16222 under",
        ),
        ({b"user." + b"n" * 251: b"v"}, "has 256 bytes; btrfs holds 255"),
        ({b"system.nfs4_acl": b"x"}, "/f: extended attribute 'system.nfs4_acl' is of no kind that is written to btrfs"),
        (
            {b"btrfs.compression": b"zstd"},
            "/f: extended attribute 'btrfs.compression' is of no kind that is written to btrfs",
        ),
        ({b"system.posix_acl_access": b"\2\0\0\0\3\0"}, "'system.posix_acl_access' is not a POSIX ACL of version 2"),
        ({b"system.posix_acl_default": b"\2\0\0\0" + bytes(8)}, "has an ACL entry of the unknown kind 0x0"),
        ({b"user.": b"x"}, "/f: extended attribute 'user.' is of no kind that is written to btrfs"),
        (
            dict.fromkeys(same_hash(100, b"user."), b"v" * 100),
            "shares its hash with others; btrfs holds 16258 bytes",
        ),
    ],
    ids=["value", "name", "system", "btrfs", "acl-length", "acl-kind", "no-name", "one-hash"],
)
def test_case_079_xattrs_beyond_that_are_an_error(pack: Pack, xattrs: dict[bytes, bytes], message: str) -> None:
    with pytest.raises(BuildError, match=re.escape(message)):
        pack(tree_with({b"f": File(EMPTY, 0o644, xattrs=xattrs)}))


SIZES = [0, 1, MAX_INLINE - 1, MAX_INLINE, MAX_INLINE + 1, SECTOR - 1, SECTOR, SECTOR + 1, 2 * SECTOR, MIB + 1]


def test_case_080_sizes_of_files(pack: Pack, check: Check) -> None:
    entries: dict[bytes, Inode] = {b"f%d" % size: File(Content.of(data(size, size)), 0o644) for size in SIZES}
    for size in SIZES[1:]:
        entries[b"hole-then-%d" % size] = File(sparse(size, (size - 1, b"z")), 0o644)
        entries[b"then-hole-%d" % size] = File(sparse(size, (0, b"z")), 0o644)
        entries[b"hole-%d" % size] = File(sparse(size), 0o644)
    image = proven(pack, check, tree_with(entries))
    read = read_tree(image).root.entries
    for name, inode in entries.items():
        other = read[name]
        assert isinstance(inode, File)
        assert isinstance(other, File)
        assert other.content.read() == inode.content.read()


def test_pieces_that_meet_within_sectors(pack: Pack, check: Check) -> None:
    """What checksums are made of: pieces of any length, next to each other and to holes."""
    entries: dict[bytes, Inode] = {}
    for number, lengths in enumerate(
        [(1, 4095, 4097), (5000, 3000, 192), (100, 100, 100), (4096, 1, 8191), (2000, 20000, 7), (1, 1, 9000)]
    ):
        at, pieces = 0, []
        for gap, length in enumerate(lengths):
            at += gap * (SECTOR // 2 if number % 2 else 0)
            pieces.append(Piece(at, MemorySource(data(length, number)), 0, length))
            at += length
        entries[b"f%d" % number] = File(Content(at + number * 5000, pieces), 0o644)
    proven(pack, check, tree_with(entries))


@pytest.mark.parametrize("size", [GIB, 5 * GIB + 3, MAX_FILE], ids=lambda n: f"case_080-sparse-{n}")
def test_sparse_files_keep_their_holes(pack: Pack, check: Check, size: int) -> None:
    pieces = [*scattered(size, 690), (size - 2, b"zz")]
    tree = tree_with({b"sparse": File(sparse(size, *pieces), 0o644)})
    image = pack(tree, size_buffer_mb=1)
    check(image)
    assert image.stat().st_blocks * 512 < 24 * MIB
    with mounted(image, "btrfs") as folder:
        assert_sparse(folder / "sparse", size, pieces, 24 * MIB)
    read = read_tree(image).root.entries[b"sparse"]
    assert isinstance(read, File)
    assert read.content.is_sparse


def test_a_file_that_is_too_large_is_an_error(pack: Pack) -> None:
    tree = tree_with({b"f": File(sparse(MAX_FILE + 1, (5, b"x")), 0o644)})
    with pytest.raises(BuildError, match=rf"^/f has {MAX_FILE + 1} bytes; a btrfs file holds {MAX_FILE}$"):
        pack(tree)


def test_case_080_a_file_of_300_mib_in_several_extents(tmp_path: Path, pack: Pack, check: Check) -> None:
    # Around the superblock's mirror at 64 MiB, and over the 128 MiB that an extent has at most.
    blob = tmp_path / "blob"
    blob.write_bytes(b"")
    os.truncate(blob, 300 * MIB)
    with open(blob, "r+b") as file:
        for at in range(0, 300 * MIB, 64 * 1024):
            os.pwrite(file.fileno(), b"mark at %d" % at, at)
    tree = tree_with(
        {
            b"a": File(Content.of(data(5000)), 0o644),
            b"big": File(Content.whole(FileSource(blob)), 0o644),
            b"c": File(Content.of(data(7000)), 0o644),
        }
    )
    image = pack(tree, size_buffer_mb=1)
    check(image)
    with mounted(image, "btrfs") as folder, open(folder / "big", "rb") as file, open(blob, "rb") as source:
        for at in range(0, 300 * MIB, 10 * MIB):
            assert os.pread(file.fileno(), 10 * MIB, at) == os.pread(source.fileno(), 10 * MIB, at)
        assert (folder / "c").read_bytes() == data(7000)


@pytest.mark.parametrize("content", [0, 59, 60, 61, 80])
def test_data_of_many_block_groups(pack: Pack, check: Check, monkeypatch: pytest.MonkeyPatch, content: int) -> None:
    """As an image of many GiB has them, and with the superblock's mirror in and between them."""
    monkeypatch.setattr(space, "GROUP", 8 * MIB)
    tree = tree_with({b"big": File(Content.of(data(content * MIB + 1, 3)), 0o644)})
    for i in range(200):
        tree.root.entries[b"f%d" % i] = File(Content.of(data(i * 99, i)), 0o644)
    image = proven(pack, check, tree)
    assert pack(read_tree(image), "again.img", size_buffer_mb=1).read_bytes() == image.read_bytes()
    with mounted(image, "btrfs", writable=True) as folder:
        (folder / "new").write_bytes(data(MIB))
        (folder / "big").unlink()
    check(image)


@pytest.mark.parametrize("gib", [17, 254, 255.99, 257], ids=lambda gib: f"case_087-{gib}")
def test_large_images(tmp_path: Path, check: Check, gib: float) -> None:
    # Not through the driver: the checksum of so many zeros takes ten seconds and more. At 256 GiB there is another
    # mirror of the superblock.
    tree = tree_with({b"f%d" % i: File(Content.of(data(5000, i)), 0o644) for i in range(int(gib))})
    target = ArtifactFile(tmp_path / "large.img")
    size = Writer(target, survey(tree), int(gib * GIB), Progress()).write()
    os.ftruncate(target.fileno(), size)
    target.commit()
    check(target.path)
    with mounted(target.path, "btrfs", writable=True) as folder:
        assert differences(tree, folder) == []
        status = os.statvfs(folder)
        assert gib * GIB <= status.f_bavail * status.f_frsize <= gib * GIB + 4 * GIB
        (folder / "new").write_bytes(b"n" * MIB)
    check(target.path)


def test_case_087_the_largest_image(tmp_path: Path, check: Check) -> None:
    found = survey(tree_with({b"f": File(Content.of(data(5000)), 0o644)}))
    target = ArtifactFile(tmp_path / "large.img")

    def is_refused(mib: int) -> bool:
        try:
            Writer(target, found, mib * MIB, Progress())
        except BuildError:
            return True
        return False

    most = bisect_left(range(16 * MIB), True, key=is_refused) - 1
    size = Writer(target, found, most * MIB, Progress()).write()
    assert space.LARGEST - GIB < size <= space.LARGEST
    os.ftruncate(target.fileno(), size)
    target.commit()
    check(target.path)


TREES: dict[str, Callable[[], dict[bytes, Inode]]] = {
    "inline": lambda: {b"%05d" % i: File(Content.of(bytes(MAX_INLINE)), 0o644) for i in range(5000)},
    "names": lambda: {b"%0255d" % i: File(EMPTY, 0o644) for i in range(9000)},
    "links": lambda: {b"%05d" % i + b"l" * 250: inode for inode in [File(EMPTY, 0o644)] for i in range(9000)},
    "symlinks": lambda: {b"%05d" % i: Symlink(b"t" * 4095) for i in range(3000)},
    "xattrs": lambda: {
        b"%04d" % i: File(EMPTY, 0o644, xattrs={b"user.x": b"v" * 8200, b"user.y": b"v" * 10}) for i in range(1000)
    },
    "extents": lambda: {b"f": File(sparse(1 << 30, *((i << 15, b"x") for i in range(1 << 15))), 0o644)},
}


@pytest.mark.parametrize("entries", TREES.values(), ids=TREES)
def test_the_trees_end_before_a_mirror_that_is_far_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Callable[[], dict[bytes, Inode]]
) -> None:
    """The mirror is moved: else it would take millions of inodes to get there."""
    monkeypatch.setattr("fledge_fs_btrfs.survey._SMALL_TREES", 256 << 10)
    found = survey(tree_with(entries()))
    start = space.data_end(found.sectors * SECTOR, MIB, found.metadata)
    monkeypatch.setattr(space, "MIRRORS", (*space.MIRRORS[:2], start + found.metadata))
    assert space.data_end(found.sectors * SECTOR, MIB, found.metadata) == start
    target = ArtifactFile(tmp_path / "t.img")
    Writer(target, found, MIB, Progress()).write()
    target.discard()
    assert space.data_end(found.sectors * SECTOR, MIB, found.metadata + 1) == start + found.metadata + MIB


def test_data_stand_before_and_behind_the_mirror_at_256_gib(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all that is below it were full."""
    start = 256 * GIB - 5 * MIB
    monkeypatch.setattr(space, "DATA_START", start)
    monkeypatch.setattr("fledge_fs_btrfs.writer.DATA_START", start)
    tree = tree_with({b"big": File(Content.of(data(9 * MIB, 9)), 0o644), b"next": File(Content.of(data(9000)), 0o644)})
    target = ArtifactFile(tmp_path / "large.img")
    size = Writer(target, survey(tree), 64 * MIB, Progress()).write()
    os.ftruncate(target.fileno(), size)
    target.commit()
    check(target.path)
    with mounted(target.path, "btrfs", writable=True) as folder:
        assert differences(tree, folder) == []
        (folder / "new").write_bytes(b"n" * MIB)
    check(target.path)
