"""Layers: everything that an inode has arrives, also for tars' other readers, and the bytes are always the same."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.store import Store
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.trees import differences, hard_tree, sparse
from fledge.tree.content import Content, MemorySource, Piece
from fledge.tree.inode import Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.layer import Layer, find_layer
from fledge.tree.merge import merge
from fledge.tree.tar import TarReader
from fledge.tree.tree import Tree
from fledge_builder_microvm import layer_writer
from fledge_builder_microvm.changes import Change, Opaque, Put, Remove


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write_layer(store: Store, changes: Iterable[Change]) -> Layer:
    """The layer. Its index, made while the tar was, has to be the one that reading the tar gives."""
    layer = layer_writer.write_layer(store, changes)
    reader = TarReader("layer")
    reader.feed(layer.source.path.read_bytes())
    assert layer.index.dump(layer.diff_id, 0) == reader.finish().dump(layer.diff_id, 0)
    return layer


def puts(tree: Tree) -> list[Change]:
    return [Put(path, inode) for path, inode in tree.walk() if not isinstance(inode, Socket)]


def facts(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    """All that a tree says, for comparisons."""
    names: dict[int, bytes] = {}
    found: dict[bytes, tuple[object, ...]] = {}
    for path, inode in tree.walk():
        if isinstance(inode, Socket):
            continue
        first = names.setdefault(id(inode), path)
        what: object = getattr(inode, "target", None) or (getattr(inode, "major", 0), getattr(inode, "minor", 0))
        if isinstance(inode, File):
            what = inode.content.read(), inode.content.is_sparse
        about = (inode.FORMAT, inode.mode, inode.uid, inode.gid, inode.mtime, sorted(inode.xattrs.items()))
        found[path] = (*about, what, first)
    return found


def test_everything_comes_back(store: Store) -> None:
    tree = hard_tree()
    layer = write_layer(store, puts(tree))
    assert facts(Tree(merge([layer], 0))) == facts(tree)
    found = find_layer(store, layer.diff_id)
    assert found is not None
    assert facts(Tree(merge([found], 0))) == facts(tree)


def test_gnu_tar_extracts_the_same(store: Store, tmp_path: Path) -> None:
    need_root()
    layer = write_layer(store, puts(hard_tree()))
    folder = tmp_path / "extracted"
    folder.mkdir()
    argv = [
        need_tool("tar"),
        "--extract",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "--same-owner",
        "--preserve-permissions",
    ]
    subprocess.run([*argv, "--file", layer.source.path, "--directory", folder], check=True, stderr=subprocess.PIPE)
    tree = Tree(merge([layer], 0))
    for inode in [inode for _, inode in tree.walk() if isinstance(inode, Symlink)]:
        inode.xattrs = {}  # GNU tar does not set those of symlinks.
    found = [
        text for text in differences(tree, folder) if "xattrs/link" not in text and "trusted.on-a-device" not in text
    ]
    assert found == []


def test_the_order_of_changes_is_not_in_the_bytes(store: Store, tmp_path: Path) -> None:
    changes = puts(hard_tree())
    layer = write_layer(store, changes)
    other = write_layer(Store(tmp_path / "other"), reversed(changes))
    assert other.diff_id == layer.diff_id
    assert other.source.path.read_bytes() == layer.source.path.read_bytes()


def test_a_layer_that_is_there_is_not_written_again(store: Store) -> None:
    layer = write_layer(store, [Put(b"a", File(Content.of(b"a"), 0o644))])
    before = layer.source.path.stat().st_ino
    assert write_layer(store, [Put(b"a", File(Content.of(b"a"), 0o644))]).source.path.stat().st_ino == before


def test_whiteouts(store: Store) -> None:
    below: dict[bytes, Inode] = {b"gone": File(Content.of(b""), 0o644), b"dir": Directory(0o755)}
    below |= {b"dir/old": File(Content.of(b""), 0o644), b"kept": File(Content.of(b""), 0o644)}
    lower = write_layer(store, [Put(path, inode) for path, inode in below.items()])
    changes = [Remove(b"gone"), Opaque(b"dir"), Put(b"dir/new", File(Content.of(b"n"), 0o644)), Remove(b"dir/never")]
    upper = write_layer(store, changes)
    assert [path for path, _ in Tree(merge([lower, upper], 0)).walk()] == [b"", b"dir", b"kept", b"dir/new"]
    with tarfile.open(upper.source.path) as tar:
        assert [(info.name, info.size, info.isfile()) for info in tar] == [
            (".wh.gone", 0, True), ("dir/.wh..wh..opq", 0, True), ("dir/.wh.never", 0, True), ("dir/new", 1, True),
        ]  # fmt: skip


@pytest.mark.parametrize("length", [95, 96, 97, 200, 255])
def test_whiteouts_with_long_paths(store: Store, length: int) -> None:
    path, folder = b"a/" + b"g" * length, b"b" * length
    kept = {b"a": Directory(0o755), folder: Directory(0o755)}
    lower = write_layer(
        store, [Put(name, inode) for name, inode in {**kept, path: Fifo(0o644), folder + b"/f": Fifo(0o644)}.items()]
    )
    upper = write_layer(store, [Remove(path), Opaque(folder)])
    assert [path for path, _ in Tree(merge([lower, upper], 0)).walk()] == [b"", *kept]
    with tarfile.open(upper.source.path) as tar:
        assert [info.name.encode() for info in tar] == [b"a/.wh." + b"g" * length, folder + b"/.wh..wh..opq"]


def test_a_layer_that_empties_the_root(store: Store) -> None:
    lower = write_layer(store, [Put(b"a", Directory(0o755))])
    upper = write_layer(store, [Put(b"", Directory(0o700, 1, 2, 3)), Opaque(b""), Put(b"b", Directory(0o755))])
    root = merge([lower, upper], 0)
    assert (list(root.entries), root.mode, root.uid, root.mtime) == ([b"b"], 0o700, 1, 3)


@pytest.mark.parametrize(
    "mtime", [0, 1, -1, -(10**9), -1_500_000_000, 1_700_000_000_000_000_001, 8_589_934_592 * 10**9]
)
def test_times(store: Store, mtime: int) -> None:
    layer = write_layer(store, [Put(b"a", File(Content.of(b""), 0o644, mtime=mtime))])
    inode = merge([layer], 0).entries[b"a"]
    assert inode.mtime == mtime


@pytest.mark.parametrize("owner", [0o7777777, 0o7777777 + 1, 2**32 - 2])
def test_owners(store: Store, owner: int) -> None:
    layer = write_layer(store, [Put(b"a", Directory(0o755, owner, owner - 1))])
    inode = merge([layer], 0).entries[b"a"]
    assert (inode.uid, inode.gid) == (owner, owner - 1)


@pytest.mark.parametrize("length", [99, 100, 101, 255])
def test_long_names_and_targets(store: Store, length: int) -> None:
    name = b"n" * length
    shared = File(Content.of(b"x"), 0o644)
    changes = [
        Put(b"d", Directory(0o755)),
        Put(b"d/" + name, shared),
        Put(b"z", shared),
        Put(b"s", Symlink(b"t" * length)),
    ]
    root = merge([write_layer(store, changes)], 0)
    folder, link = root.entries[b"d"], root.entries[b"s"]
    assert isinstance(folder, Directory)
    assert isinstance(link, Symlink)
    assert folder.entries[name] is root.entries[b"z"]
    assert link.target == b"t" * length


@pytest.mark.parametrize("size", [511, 512, 513, (1 << 20) - 1, (1 << 20) + 1])
def test_sizes(store: Store, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    layer = write_layer(
        store, [Put(b"a", File(Content.of(data[:size]), 0o644)), Put(b"b", File(Content.of(b"b"), 0o644))]
    )
    inode = merge([layer], 0).entries[b"a"]
    assert isinstance(inode, File)
    assert inode.content.read() == data[:size]


def test_holes_take_no_room(store: Store) -> None:
    """9 GiB are also past what a header's size field can hold."""
    content = sparse(9 << 30, (5 << 30, b"in the middle"))
    layer = write_layer(store, [Put(b"a", File(content, 0o644)), Put(b"b" * 120, File(sparse(1 << 20), 0o644))])
    assert layer.source.size < 10_000
    first = merge([layer], 0).entries[b"a"]
    assert isinstance(first, File)
    assert (first.content.size, [piece.offset for piece in first.content.pieces]) == (9 << 30, [5 << 30])


@pytest.mark.parametrize(
    ("path", "inode", "message"),
    [
        (b"a/.wh.b", Directory(0o755), "/a/.wh.b: a name in an image can't begin with .wh."),
        (b"a/s", Socket(0o755), "/a/s is a socket, which no layer can hold"),
        (
            b"/".join([b"n" * 250] * 17),
            Directory(0o755),
            f"/{'/'.join(['n' * 250] * 17)}: the path has 4266 bytes; Linux allows 4095",
        ),
        (
            b"a",
            Directory(0o755, xattrs={b"user.%02d" % number: bytes(65000) for number in range(20)}),
            "/a: its extended attributes take 1300560 bytes in a layer; 1048576 are allowed",
        ),
        (
            b"a",
            File(Content(1 << 28, [Piece(at << 11, MemorySource(b"x"), 0, 1) for at in range(1 << 17)]), 0o644),
            "/a: a sparse file of 131073 extents; a layer's can have 131072",
        ),
        (
            b"a",
            Directory(0o755, xattrs={b"user.a=b": b"v"}),
            "/a: the extended attribute user.a=b has a = in its name, which no layer can hold",
        ),
    ],
)
def test_what_no_layer_can_hold(store: Store, path: bytes, inode: Inode, message: str) -> None:
    with pytest.raises(BuildError) as caught:
        write_layer(store, [Put(path, inode)])
    assert caught.value.message == message
    assert not list((store.folder / "tmp").iterdir())
