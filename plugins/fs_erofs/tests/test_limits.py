"""The boundaries of the format: the largest that fits, and the error for what does not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import mounted
from fledge.testing.trees import MINIMAL_ACL, data, differences, folder_with, sparse, tree_with
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge_fs_erofs.reader import read_tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]

GIB = 1 << 30
BLOCK = 4096
INODE = 64
ENTRY = 12


def check(tree: Tree, pack: Pack, fsck: Fsck, **options: object) -> Path:
    image = pack(tree, **options)
    fsck(image)
    with mounted(image, "erofs") as folder:
        assert differences(tree, folder) == []
    return image


def test_case_074_a_name_of_255_bytes(pack: Pack, fsck: Fsck) -> None:
    check(
        tree_with({b"n" * 255: File(EMPTY, 0o644), b"\xff" * 255: Directory(0o755), b"x": Symlink(b"n" * 255)}),
        pack,
        fsck,
    )


def test_case_074_a_name_of_256_bytes_is_an_error(pack: Pack) -> None:
    file = File(EMPTY, 0o644)
    tree = tree_with({b"a": file, b"folder": folder_with({b"n" * 256: file})})
    with pytest.raises(BuildError, match=r"^/folder: the name n{256} has 256 bytes; erofs holds at most 255$"):
        pack(tree)


@pytest.mark.parametrize(
    "xattrs", [{}, {b"trusted.x": b"y" * 100}, {b"trusted.x": data(4000)}], ids=["plain", "xattrs", "large_xattrs"]
)
def test_case_075_symlinks(pack: Pack, fsck: Fsck, xattrs: dict[bytes, bytes]) -> None:
    target = b"0123456789/" * 400
    inline = BLOCK - INODE - (12 + 4 + 1 + 103 if len(xattrs.get(b"trusted.x", b"")) == 100 else 0)
    lengths = (1, 59, 60, 300, inline - 1, inline, inline + 1, 4095)
    check(tree_with({b"link-%d" % n: Symlink(target[:n], uid=1, mtime=n, xattrs=xattrs) for n in lengths}), pack, fsck)


def test_case_076_100_000_links(pack: Pack) -> None:
    file = File(Content.of(b"shared"), 0o644)
    image = pack(tree_with({b"name-%d" % i: file for i in range(100_000)}))
    with mounted(image, "erofs") as folder:
        assert (folder / "name-7").stat().st_nlink == 100_000
        assert len({entry.inode() for entry in os.scandir(folder)}) == 1


def test_case_077_65_000_subfolders(pack: Pack) -> None:
    image = pack(tree_with({b"folder-%d" % i: Directory(0o755) for i in range(65_000)}))
    with mounted(image, "erofs") as folder:
        assert folder.stat().st_nlink == 65_002
        assert len(os.listdir(folder)) == 65_000


def test_case_078_a_folder_of_100_000_entries(pack: Pack) -> None:
    names = {b"entry-%d" % i for i in range(100_000)}
    tree = tree_with({b"big": folder_with({name: File(EMPTY, 0o644) for name in sorted(names, reverse=True)})})
    image = pack(tree)
    with mounted(image, "erofs") as folder:
        top = os.fsencode(folder / "big")
        assert set(os.listdir(top)) == names
        for name in names:
            os.lstat(top + b"/" + name)  # Each is found by the kernel's own search.
    read = read_tree(image).root.entries[b"big"]
    assert isinstance(read, Directory)
    assert read.entries.keys() == names


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("limit", [BLOCK - INODE, BLOCK, 2 * BLOCK - INODE])
def test_case_078_folders_around_a_block(pack: Pack, fsck: Fsck, limit: int, beyond: int) -> None:
    """`limit`: bytes of entries that follow an inode, fill a block, or both."""
    size = 2 * ENTRY + len("...")
    names = []
    while limit + beyond - size >= 2 * (ENTRY + 100):
        names.append(b"%04d" % len(names) + b"x" * 96)
        size += ENTRY + 100
    names.append(b"y" * (limit + beyond - size - ENTRY))
    # Names that sort before and after those that every folder has.
    tree = tree_with(
        {
            b"folder": folder_with({name: File(EMPTY, 0o600) for name in names}),
            b"odd": folder_with({name: Directory(0o755) for name in (b"!", b"\x01", b"...", b"-", b".a", b"\xff")}),
        }
    )
    check(tree, pack, fsck)


@pytest.mark.parametrize("size", [0, 1, 3, 4, BLOCK - 1, BLOCK, 65_535])
def test_case_079_values_of_xattrs(pack: Pack, fsck: Fsck, size: int) -> None:
    file, other = (File(Content.of(b"x"), 0o644, xattrs={b"user.value": data(size)}) for _ in range(2))
    alone = File(Content.of(b"y"), 0o644, xattrs={b"trusted." + b"n" * 247: data(size, 2)})
    check(tree_with({b"file": file, b"other": other, b"alone": alone}), pack, fsck)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_case_079_as_many_xattrs_as_listxattr_gives(pack: Pack, fsck: Fsck, shared: bool) -> None:
    xattrs = {b"user.%05d" % i: b"%d" % i for i in range(65_536 // 11)}
    entries: dict[bytes, Inode] = {b"many": File(Content.of(b"x" * 5000), 0o644, xattrs=xattrs)}
    if shared:
        entries[b"more"] = Directory(0o755, xattrs=dict(list(xattrs.items())[:300]))
    check(tree_with(entries), pack, fsck)


@pytest.mark.parametrize(
    ("xattrs", "message"),
    [
        ({b"user.v": bytes(65_536)}, "'user.v' has 65536 bytes; erofs holds at most 65535"),
        ({b"user." + b"n" * 251: b""}, "has a name of 256 bytes; at most 255 are possible"),
        ({b"user.": b""}, "'user.' is of no kind that erofs holds: user.*, trusted.*, security.* and POSIX ACLs"),
        ({b"system.other": b""}, "'system.other' is of no kind"),
        ({b"system.posix_acl_access2": b""}, "'system.posix_acl_access2' is of no kind"),
        ({b"system.posix_acl_access": b"\1\0\0\0"}, "'system.posix_acl_access' is not a POSIX ACL of version 2"),
        ({b"system.posix_acl_default": MINIMAL_ACL[:-1]}, "is not a POSIX ACL of version 2"),
        ({b"user.%06d" % i: b"" for i in range(5462)}, "the names of its xattrs take 65544 bytes"),
        (
            {b"user.%d" % i: data(60_000, i) for i in range(5)},
            "its xattrs take 300052 bytes; erofs has room for 262148",
        ),
    ],
)
def test_case_079_xattrs_beyond_the_format(pack: Pack, xattrs: dict[bytes, bytes], message: str) -> None:
    with pytest.raises(BuildError, match=f"^/file: .*{re.escape(message)}"):
        pack(tree_with({b"file": File(EMPTY, 0o644, xattrs=xattrs)}))


@pytest.mark.parametrize("options", [{}, {"compression": "none"}], ids=["lz4", "none"])
def test_case_080_sizes(pack: Pack, fsck: Fsck, options: dict[str, object]) -> None:
    inline = BLOCK - INODE
    limits = (BLOCK, BLOCK + inline, 2 * BLOCK, 32 * BLOCK, 33 * BLOCK)
    sizes = {0, 1, *(limit + beyond for limit in (inline, *limits) for beyond in (-1, 0, 1))}
    # 4016 bytes of xattrs leave room for nothing, 3900 for a little.
    check(
        tree_with(
            {
                b"f-%d-%d" % (size, more): File(
                    Content.of(data(size, size)), 0o644, xattrs={b"user.x": data(more)} if more else {}
                )
                for size in sizes
                for more in (0, 3900, 4016)
            }
        ),
        pack,
        fsck,
        **options,
    )


@pytest.mark.parametrize("options", [{}, {"compression": "none"}], ids=["lz4", "none"])
def test_case_080_sparse_files(pack: Pack, fsck: Fsck, options: dict[str, object]) -> None:
    contents = {
        b"hole": sparse(GIB),
        b"end": sparse(GIB, (GIB - 1, b"e")),
        b"begin": sparse(GIB + 1, (0, b"b")),
        b"one": sparse(9 * GIB, (5 * GIB, data(5000))),
        b"alternating": sparse(600 * BLOCK, *((i * 2 * BLOCK, data(BLOCK, i)) for i in range(300))),
        b"unaligned": sparse(100 * BLOCK, (10 * BLOCK + 5, data(6 * BLOCK)), (17 * BLOCK + 9, b"x")),
        b"small": sparse(5000, (10, b"y")),
        b"huge": sparse(1 << 42, ((1 << 41) + 12_345, b"z")),
        b"hole-over-8-tib": sparse((1 << 43) + BLOCK),
        b"hole-of-4-eib": sparse(1 << 62),
    }
    tree = tree_with({name: File(content, 0o644) for name, content in contents.items()})
    image = pack(tree, **options)
    assert image.stat().st_size < 24 << 20
    with mounted(image, "erofs") as folder:
        for name, content in contents.items():
            path = os.fsencode(folder) + b"/" + name
            assert os.stat(path).st_size == content.size
            with open(path, "rb") as file:
                for piece in content.pieces:
                    for offset in (piece.offset - 1, piece.offset, piece.offset + piece.length):
                        file.seek(max(offset, 0))
                        assert file.read(10) == read_at(content, max(offset, 0), 10)
    for name, content in contents.items():
        read = read_tree(image).root.entries[name]
        assert isinstance(read, File)
        assert read.content.size == content.size
        assert sum(piece.length for piece in read.content.pieces) < 8 << 20


@pytest.mark.parametrize("options", [{}, {"compression": "none"}], ids=["lz4", "none"])
def test_scattered_data_that_no_image_has_room_for(pack: Pack, options: dict[str, object]) -> None:
    scattered = sparse(1 << 62, *((i << 60, b"x") for i in range(4)))
    with pytest.raises(BuildError, match=r"^/b would end at block \d+; erofs has 4294967295 blocks of 4 KiB$"):
        pack(tree_with({b"a": File(sparse(BLOCK), 0o644), b"b": File(scattered, 0o644)}), **options)


def test_holes_take_little(pack: Pack) -> None:
    tree = tree_with({b"%d" % i: File(sparse(4 * GIB, (BLOCK, b"x")), 0o644) for i in range(20)})
    assert pack(tree).stat().st_size < 20 * (300 << 10)


def read_at(content: Content, offset: int, length: int) -> bytes:
    found = bytearray(min(length, content.size - offset))
    for piece in content.pieces:
        for at in range(max(offset, piece.offset), min(offset + len(found), piece.offset + piece.length)):
            found[at - offset] = piece.source.view(piece.start + at - piece.offset, 1)[0]
    return bytes(found)


class Zeros:
    """Zeros that take no memory, and 5000 other bytes behind them."""

    end = data(5000)

    def __init__(self, zeros: int) -> None:
        self._zeros = zeros
        self._block = memoryview(bytes(1 << 20))
        self.size = zeros + len(self.end)

    def view(self, start: int, length: int) -> memoryview:
        if start + length <= self._zeros:
            return self._block[:length]
        return memoryview((bytes(max(self._zeros - start, 0)) + self.end[max(start - self._zeros, 0) :])[:length])

    def release(self, start: int, length: int) -> None:
        pass


@pytest.mark.parametrize("zeros", [600 << 20, 4 * GIB], ids=["600_mib", "4_gib"])
def test_case_080_large_files_without_a_hole(pack: Pack, zeros: int) -> None:
    image = pack(tree_with({b"large": File(Content.whole(Zeros(zeros)), 0o644)}))
    assert image.stat().st_size < 160 << 20
    with mounted(image, "erofs") as folder, open(folder / "large", "rb") as file:
        assert os.stat(file.fileno()).st_size == zeros + len(Zeros.end)
        assert file.read(10) == bytes(10)
        file.seek(zeros // 2)
        assert file.read(5 << 20) == bytes(5 << 20)
        file.seek(zeros - 10)
        assert file.read() == bytes(10) + Zeros.end


def test_case_085_20_000_empty_files(pack: Pack, fsck: Fsck) -> None:
    image = pack(tree_with({b"file-%05d" % i: File(EMPTY, 0o644) for i in range(20_000)}))
    fsck(image)
    with mounted(image, "erofs") as folder:
        assert len(os.listdir(folder)) == 20_000
