"""Images as the kernel and unsquashfs see them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import mounted, need_tool, run, treediff
from fledge.testing.trees import EPOCH, SECOND, data, differences, hard_tree, sparse
from fledge.tree.content import Content
from fledge.tree.inode import CharDevice, Directory, File, Inode, Socket, Symlink
from fledge.tree.tree import Tree

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def tree_of(**entries: Inode) -> Tree:
    root = Directory(0o755, mtime=EPOCH)
    root.entries = {name.encode(): inode for name, inode in entries.items()}
    return Tree(root, EPOCH)


def file(content: bytes | Content = b"", **attributes: object) -> File:
    return File(Content.of(content) if isinstance(content, bytes) else content, 0o644, **attributes)


def unsquashfs(*arguments: object) -> str:
    """Its output; fails on any complaint: it exits with 0 after some of them."""
    done = run(need_tool("unsquashfs", "squashfs-tools"), *map(str, arguments))
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "xz"},
        {"compression": "gzip"},
        {"compression_level": 1},
        {"compression_level": 14, "block_size": 1 << 20},
        {"compression_level": 22, "block_size": 4096},
        {"compression": "xz", "compression_level": 0, "block_size": 4096},
        {"compression": "gzip", "compression_level": 1, "block_size": 1 << 20},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "default",
)
def test_the_kernel_shows_the_tree_that_was_packed(pack, options):
    tree = hard_tree(block=options.get("block_size", 128 * KIB), acls=False)
    image = pack(tree, **options)
    with mounted(image, "squashfs") as folder:
        assert differences(tree, folder, whole_seconds=True) == []


def test_unsquashfs_extracts_what_the_kernel_shows(pack, tmp_path):
    tree = hard_tree(block=128 * KIB, acls=False)
    image = pack(tree)
    with mounted(image, "squashfs") as folder:
        unsquashfs("-no-progress", "-d", tmp_path / "out", image)
        assert differences(tree, tmp_path / "out", whole_seconds=True) == []
        assert treediff(folder, tmp_path / "out") == []


def test_unsquashfs_reads_the_superblock_as_it_was_meant(pack):
    said = unsquashfs("-s", pack(hard_tree(acls=False), compression_level=9))
    for line in (
        "Creation or last append time Tue Nov 14 22:13:20 2023",
        "Compression zstd",
        "compression-level 9",
        "Block size 131072",
        "Filesystem is exportable via NFS",
        "Duplicates are removed",
    ):
        assert line in said


def damage_owner(image: Path) -> None:
    """Makes every uid 0 into another one: the id table's block stands right before the table's start."""
    raw = bytearray(image.read_bytes())
    (table,) = struct.unpack_from("<Q", raw, 48)
    (block,) = struct.unpack_from("<Q", raw, table)
    (header,) = struct.unpack_from("<H", raw, block)
    assert header & 0x8000, "the ids are few, so they are stored raw"
    raw[block + 2] ^= 1
    image.write_bytes(raw)


def damage_content(image: Path) -> None:
    raw = bytearray(image.read_bytes())
    at = raw.index(b"a distinct content")
    raw[at] ^= 1
    image.write_bytes(raw)


@pytest.mark.parametrize("damage", [damage_owner, damage_content])
def test_the_oracles_see_a_broken_image(pack, tmp_path, damage):
    tree = tree_of(file=file(b"a distinct content"))
    image = pack(tree)
    with mounted(image, "squashfs") as folder:
        assert differences(tree, folder, whole_seconds=True) == []
    damage(image)
    with mounted(image, "squashfs") as folder:
        assert differences(tree, folder, whole_seconds=True) != []
    unsquashfs("-no-progress", "-d", tmp_path / "out", image)
    assert differences(tree, tmp_path / "out", whole_seconds=True) != []


@pytest.mark.parametrize(
    "other",
    [
        tree_of(f=file(b"content", mtime=SECOND)),
        tree_of(f=file(b"content", uid=1)),
        tree_of(f=file(b"content", xattrs={b"user.x": b""})),
        tree_of(f=file(b"content"), g=file(b"content")),
        tree_of(f=Symlink(b"content")),
    ],
)
def test_the_oracles_tell_trees_apart(pack, other):
    with mounted(pack(other), "squashfs") as folder:
        assert differences(other, folder) == []
        assert differences(tree_of(f=file(b"content")), folder) != []


@pytest.mark.parametrize(
    ("nanoseconds", "seconds"),
    [
        pytest.param(-1, 0, id="case_029-just-before-1970"),
        pytest.param(-(10**18), 0, id="case_029-long-before-1970"),
        pytest.param(0, 0, id="case_029-1970"),
        pytest.param(1_999_999_999, 1, id="case_029-part-of-a-second"),
        pytest.param((2**32 - 1) * SECOND, 2**32 - 1, id="case_029-2106"),
        pytest.param(2**32 * SECOND, 2**32 - 1, id="case_029-past-2106"),
    ],
)
def test_times_are_clamped_to_what_the_format_holds(pack, nanoseconds, seconds):
    tree = tree_of(f=file(mtime=nanoseconds), d=Directory(0o755, mtime=nanoseconds))
    with mounted(pack(tree), "squashfs") as folder:
        assert os.stat(folder / "f").st_mtime_ns == seconds * SECOND
        assert os.stat(folder / "d").st_mtime_ns == seconds * SECOND


def test_case_074_names_of_255_bytes(pack):
    tree = tree_of(**{"n" * 255: file(b"x")})
    with mounted(pack(tree), "squashfs") as folder:
        assert differences(tree, folder) == []


def test_case_074_a_name_of_256_bytes_is_an_error(pack, tmp_path):
    below = Directory(0o755)
    below.entries[b"n" * 256] = file()
    with pytest.raises(BuildError, match=r"^/below/n{256}: the name has 256 bytes; squashfs holds at most 255$"):
        pack(tree_of(below=below))
    assert list(tmp_path.glob("*.img")) == []


def test_case_075_symlinks(pack):
    tree = tree_of(**{f"s{n}": Symlink((b"abcdefg/" * 600)[:n]) for n in (1, 59, 60, 300, 4095)})
    with mounted(pack(tree), "squashfs") as folder:
        assert differences(tree, folder) == []


def test_case_075_a_target_of_4096_bytes_is_an_error(pack):
    with pytest.raises(BuildError, match=r"^/s: the symlink's target has 4096 bytes; at most 4095 are allowed$"):
        pack(tree_of(s=Symlink(b"x" * 4096)))


@pytest.mark.parametrize(("major", "minor"), [(4096, 0), (0, 1 << 20)])
def test_a_device_number_that_linux_does_not_have_is_an_error(pack, major, minor):
    with pytest.raises(
        BuildError, match=f"^/d: squashfs can't hold the device number {major}:{minor}; at most 4095:1048575"
    ):
        pack(tree_of(d=CharDevice(major, minor, 0o600)))


def test_case_076_65000_links(pack):
    tree, links = tree_of(), Directory(0o755)
    shared = file(b"shared")
    links.entries = {b"%06d" % i: shared for i in range(65_000)}
    tree.root.entries[b"links"] = links
    with mounted(pack(tree), "squashfs") as folder:
        assert os.stat(folder / "links" / "000000").st_nlink == 65_000
        assert len({entry.inode() for entry in os.scandir(folder / "links")}) == 1


def test_case_077_65000_subfolders(pack):
    tree, below = tree_of(), Directory(0o755)
    below.entries = {b"%06d" % i: Directory(0o700 + i % 64) for i in range(65_000)}
    tree.root.entries[b"below"] = below
    with mounted(pack(tree, compression_level=1), "squashfs") as folder:
        status = os.stat(folder / "below")
        assert status.st_nlink == 65_002
        assert len(os.listdir(folder / "below")) == 65_000
        assert os.stat(folder / "below" / "064999").st_mode & 0o777 == 0o700 + 64999 % 64


def test_case_078_a_folder_of_100000_entries(pack):
    tree, large = tree_of(), Directory(0o755)
    large.entries = {b"entry-%06d-with-a-name" % i: file(b"%d" % (i % 7), mtime=i * SECOND) for i in range(100_000)}
    tree.root.entries[b"large"] = large
    with mounted(pack(tree, compression_level=1), "squashfs") as folder:
        assert sorted(os.listdir(os.fsencode(folder / "large"))) == sorted(large.entries)
        # Each look-up goes through the directory's index.
        for i in range(0, 100_000, 997):
            assert os.stat(folder / "large" / f"entry-{i:06}-with-a-name").st_mtime == i
        assert not (folder / "large" / "entry-000000-with-a-namf").exists()
        assert not (folder / "large" / "zzz").exists()


def test_case_083_more_than_256_entries_under_one_header(pack):
    tree, folder_ = tree_of(), Directory(0o755)
    # Sockets without anything: so small that over 256 of them stand in one metadata block.
    folder_.entries = {b"%04d" % i: Socket(0o600) for i in range(700)}
    tree.root.entries[b"d"] = folder_
    with mounted(pack(tree), "squashfs") as folder:
        assert differences(tree, folder) == []


def owners(count: int) -> Tree:
    tree, folder = tree_of(), Directory(0o755)
    folder.entries = {b"%06d" % i: CharDevice(1, 3, 0o600, i, i) for i in range(count)}
    tree.root.entries[b"d"] = folder
    return tree


def test_case_083_as_many_ids_as_the_kernel_takes(pack):
    with mounted(pack(owners(65_535), compression_level=1), "squashfs") as folder:
        assert os.stat(folder / "d" / "000000").st_uid == 0
        assert os.stat(folder / "d" / "065534").st_uid == 65_534


def test_case_083_one_id_more_is_an_error(pack):
    with pytest.raises(BuildError, match=r"^the tree has more than 65535 different uids and gids"):
        pack(owners(65_536), compression_level=1)


def xattrs(**values: bytes) -> File:
    return file(xattrs={name.replace("_", ".", 1).encode(): value for name, value in values.items()})


def test_case_079_xattrs_up_to_the_limits_of_linux(pack):
    tree = tree_of(
        largest=xattrs(user_x=data(64 * KIB, 1)),
        again=xattrs(user_x=data(64 * KIB, 1), trusted_y=b"1"),
        name=file(xattrs={b"user." + b"n" * 250: b""}),
        many=file(xattrs={b"user.%0250d" % i: b"v" for i in range(256)}),
    )
    with mounted(pack(tree), "squashfs") as folder:
        assert differences(tree, folder) == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        pytest.param({b"system.posix_acl_access": b"\2\0\0\0"}, "can't hold the xattr 'system.posix_acl_access'", id="case_079-acl"),
        pytest.param({b"other": b""}, "can't hold the xattr 'other'", id="case_079-no-namespace"),
        pytest.param({b"user.x": bytes(65_537)}, "'user.x' has 65537 bytes; at most 65536", id="case_079-value"),
        pytest.param({b"user." + b"n" * 251: b""}, "has 256 bytes; at most 255", id="case_079-name"),
        pytest.param({b"user.%0250d" % i: b"" for i in range(257)}, "take 65792 bytes; at most 65536", id="case_079-list"),
    ],
)  # fmt: skip
def test_xattrs_that_can_not_be_held_are_an_error(pack, attributes, message):
    folder = Directory(0o755)
    folder.entries[b"f"] = file(xattrs=attributes)
    with pytest.raises(BuildError, match=message) as caught:
        pack(tree_of(d=folder))
    assert caught.value.message.startswith("/d/f: ")


BLOCK = 128 * KIB


@pytest.mark.parametrize(
    "size",
    [pytest.param(n, id=f"case_080-{n}") for n in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK)],
)
@pytest.mark.parametrize("kind", ["text", "dense", "zeros"])
def test_files_around_the_block_size(pack, size, kind):
    content = {"text": (b"line\n" * (size // 5 + 1))[:size], "dense": data(size, 4), "zeros": bytes(size)}[kind]
    tree = tree_of(f=file(content))
    with mounted(pack(tree), "squashfs") as folder:
        assert (folder / "f").read_bytes() == content


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        pytest.param(600 * MIB, [(599 * MIB, b"end"), (0, b"begin")], id="case_080-600MiB"),
        pytest.param(GIB, [], id="case_080-sparse-1GiB"),
        pytest.param(5 * GIB + 7, [(5 * GIB, b"the end")], id="case_080-over-4GiB"),
        pytest.param(5 * GIB, [(0, b"begin"), (4 * GIB - 2, b"across 4 GiB")], id="case_080-over-4GiB-middle"),
    ],
)
def test_large_files(pack, size, pieces):
    tree = tree_of(f=file(sparse(size, *sorted(pieces))))
    with mounted(pack(tree), "squashfs") as folder:
        status = os.stat(folder / "f")
        assert status.st_size == size
        # Holes take no space: the kernel computes the blocks from the bytes that the inode says are sparse.
        assert status.st_blocks * 512 <= (len(pieces) + 1) * BLOCK
        with open(folder / "f", "rb") as opened:
            for offset, part in pieces:
                opened.seek(max(0, offset - 3))
                assert opened.read(len(part) + min(offset, 3)) == bytes(min(offset, 3)) + part


def test_case_087_over_65536_fragments(pack):
    tree, folder_ = tree_of(), Directory(0o755)
    # Each takes more than half of the smallest block, so each is in a fragment block of its own.
    head = bytes(2100)
    folder_.entries = {b"%06d" % i: file(head + b"%d" % i) for i in range(65_600)}
    tree.root.entries[b"d"] = folder_
    image = pack(tree, block_size=4096, compression_level=1)
    assert "Number of fragments 65600" in unsquashfs("-s", image)
    with mounted(image, "squashfs") as folder:
        for i in range(0, 65_600, 41):
            assert (folder / "d" / f"{i:06}").read_bytes() == head + b"%d" % i


def test_equal_files_are_stored_once(pack):
    large, small = data(3 * MIB, 1), data(1000, 2)
    one = pack(tree_of(a=file(large), b=file(small)))
    many = pack(
        tree_of(
            **{f"a{i}": file(bytes(large), mtime=i * SECOND) for i in range(5)},
            **{f"b{i}": file(bytes(small), uid=i) for i in range(50)},
        )
    )
    assert many.stat().st_size - one.stat().st_size < 8 * KIB
    with mounted(many, "squashfs") as folder:
        assert (folder / "a4").read_bytes() == large
        assert (folder / "b49").read_bytes() == small


def test_equal_xattr_values_are_stored_once(pack):
    value = data(60_000, 1)
    tree = tree_of(**{f"f{i}": file(xattrs={b"user.large": value, b"user.i": b"%d" % i}) for i in range(20)})
    image = pack(tree)
    assert image.stat().st_size < 80_000
    with mounted(image, "squashfs") as folder:
        assert differences(tree, folder) == []


def test_it_is_no_larger_than_what_mksquashfs_makes(pack, tmp_path):
    """Within 2 %, of a tree with text, binaries, many small files, duplicates, and what does not compress."""
    tree, many = tree_of(), Directory(0o755)
    source = Path(os.__file__).parent
    for index, path in enumerate(sorted(source.glob("*.py"))[:150]):
        many.entries[path.name.encode()] = file(path.read_bytes(), mtime=index * SECOND)
    tree.root.entries[b"small"] = many
    tree.root.entries[b"program"] = file(Path(os.path.realpath("/bin/bash")).read_bytes())
    tree.root.entries[b"dense"] = file(data(200_000, 1))
    image = pack(tree)
    with mounted(image, "squashfs") as folder:
        run(
            need_tool("mksquashfs", "squashfs-tools"), folder, tmp_path / "reference.img",
            "-comp", "zstd", "-Xcompression-level", "15", "-noappend", "-no-progress",
        )  # fmt: skip
    assert image.stat().st_size <= (tmp_path / "reference.img").stat().st_size * 1.02
