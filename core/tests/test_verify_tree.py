"""The comparison of two trees: every kind of difference is told, once, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from fledge.artifact import Artifact
from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem
from fledge.options import NoOptions
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan
from fledge.testing.builds import context
from fledge.testing.trees import EPOCH, data, hard_tree, sparse
from fledge.tree.content import Content, MemorySource, Piece
from fledge.tree.inode import BlockDevice, CharDevice, Directory, Fifo, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath, show_path
from fledge.verify_tree import Difference, differences, unreadable


class Exact(Filesystem):
    """Holds everything."""

    options_model: ClassVar = NoOptions

    @hookimpl
    def pack_artifact(self, plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact:
        raise NotImplementedError

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return False

    @classmethod
    def read_tree(cls, path: Path) -> Tree:
        raise NotImplementedError


class Coarse(Exact):
    """Whole seconds, no xattrs, symlinks on their own."""

    links_symlinks: ClassVar[bool] = False

    def held_mtime(self, mtime: int) -> int:
        return mtime // 10**9 * 10**9

    def held_xattrs(self, xattrs: object) -> dict[bytes, bytes]:
        return {}


@pytest.fixture
def exact(tmp_path: Path) -> Exact:
    return Exact("exact", NoOptions(), context(tmp_path))


def told(found: object) -> list[str]:
    return [f"{show_path(one.path)}: {one.what}: {one.expected} | {one.found}" for one in found]  # type: ignore[attr-defined]


def test_equal_trees_have_no_differences(exact: Exact) -> None:
    assert told(differences(hard_tree(), hard_tree(), exact)) == []


def entry(tree: Tree, path: str) -> Inode:
    inode = tree.get(GuestPath.parse(path))
    assert inode is not None
    return inode


def folder(tree: Tree, path: str) -> Directory:
    inode = entry(tree, path)
    assert isinstance(inode, Directory)
    return inode


def put(tree: Tree, path: str, inode: Inode) -> None:
    where = GuestPath.parse(path)
    folder(tree, str(GuestPath(where.parts[:-1]))).entries[where.name] = inode


def attribute(path: str, **values: object) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        for name, value in values.items():
            setattr(entry(tree, path), name, value)

    return change


CHANGES: dict[str, tuple[Callable[[Tree], object], list[str]]] = {
    "mode": (attribute("/empty", mode=0o4711), ["/empty: mode: 0711 | 4711"]),
    "mode of the root": (attribute("/", mode=0o700), ["/: mode: 0755 | 0700"]),
    "owner": (attribute("/empty", uid=7, gid=2**32 - 2), ["/empty: owner: 0:0 | 7:4294967294"]),
    "a nanosecond": (
        attribute("/special/null", mtime=EPOCH + 1),
        ["/special/null: mtime: 1700000000.000000000 | 1700000000.000000001"],
    ),
    "before 1970": (attribute("/empty", mtime=-1), ["/empty: mtime: 0.000000000 | -1.999999999"]),
    "xattrs": (
        attribute("/xattrs/folder", xattrs={b"user.folder": b"no", b"user.\xff": b""}),
        [
            "/xattrs/folder: xattr user.folder: 0x796573 | 0x6e6f",
            "/xattrs/folder: xattr user.\\xff: none | 0x",
        ],
    ),
    "target": (
        attribute("/links/absolute", target=b"etc"),
        ["/links/absolute: target: /etc/../../../outside | etc"],
    ),
    "device": (attribute("/special/disk", minor=18), ["/special/disk: device: 8,17 | 8,18"]),
    "kind": (
        lambda tree: put(tree, "/special/socket", Fifo(0o755)),
        ["/special/socket: kind: a socket | a fifo"],
    ),
    "kind of device": (
        lambda tree: put(tree, "/special/null", BlockDevice(1, 3, 0o666, mtime=EPOCH)),
        ["/special/null: kind: a character device | a block device"],
    ),
    "missing": (lambda tree: folder(tree, "/").entries.pop(b"names"), ["/names: entry: a directory | nothing"]),
    "too much": (
        lambda tree: put(tree, "/empty/new", CharDevice(1, 1, 0)),
        ["/empty/new: entry: nothing | a character device"],
    ),
    "size": (attribute("/sizes/f1", content=Content.of(b"12")), ["/sizes/f1: content: 1 bytes | 2 bytes"]),
    "a byte": (
        attribute("/sizes/f60", content=Content.of(data(60, 60)[:58] + b"ab")),
        [f"/sizes/f60: content: {data(60, 60)[58:].hex(' ')} at byte 58 | 61 62 at byte 58"],
    ),
    "a hole": (
        attribute("/holes/all", content=sparse(40960, (20_000, b"\0\0\1"))),
        ["/holes/all: content: 00 at byte 20002 | 01 at byte 20002"],
    ),
    "a link less": (
        lambda tree: put(tree, "/links/hard2", File(Content.of(data(8192, 9)), 0o640, 8, 9, EPOCH)),
        ["/links/hard2: hard link: that of /links/hard1 | an inode of its own"],
    ),
    "a link more": (
        lambda tree: put(tree, "/sizes/twin2", entry(tree, "/sizes/twin1")),
        [
            "/sizes/twin2: hard link: an inode of its own | that of /sizes/twin1",
            "/sizes/twin2: mode: 0600 | 0644",
            "/sizes/twin2: owner: 7:7 | 0:0",
            "/sizes/twin2: mtime: 2.000000000 | 0.000000001",
        ],
    ),
    "a shared inode": (attribute("/links/hard1", gid=1), ["/links/hard1: owner: 8:9 | 8:1"]),
}


@pytest.mark.parametrize(("change", "lines"), CHANGES.values(), ids=list(CHANGES))
def test_a_difference(exact: Exact, change: Callable[[Tree], object], lines: list[str]) -> None:
    tree = hard_tree()
    change(tree)
    assert told(differences(hard_tree(), tree, exact)) == lines


def test_what_the_format_does_not_hold_is_not_expected(tmp_path: Path) -> None:
    tree = hard_tree(nanoseconds=False)
    for _, inode in tree.walk():
        inode.mtime = inode.mtime // 10**9 * 10**9
        inode.xattrs = {}
    put(tree, "/links/linked-symlink2", Symlink(b"hard1", mtime=EPOCH))
    coarse = Coarse("coarse", NoOptions(), context(tmp_path))
    assert told(differences(hard_tree(), tree, coarse)) == []
    put(tree, "/links/hard2", File(Content.of(data(8192, 9)), 0o640, 8, 9, EPOCH))
    assert len(told(differences(hard_tree(), tree, coarse))) == 1


def test_terabytes_of_holes_take_no_time(exact: Exact) -> None:
    trees = []
    for last in (b"z", b"y"):
        tree = Tree(Directory(0o755))
        tree.root.entries[b"f"] = File(sparse(1 << 44, (1 << 43, b"middle"), ((1 << 44) - 1, last)), 0o644)
        trees.append(tree)
    assert told(differences(*trees, exact)) == [
        f"/f: content: 7a at byte {(1 << 44) - 1} | 79 at byte {(1 << 44) - 1}",
    ]


class Broken(MemorySource):
    def view(self, start: int, length: int) -> memoryview:
        raise BuildError("block 7 is corrupt")


def test_what_can_not_be_read_is_told_and_the_rest_is_compared(exact: Exact) -> None:
    tree = hard_tree()
    broken = Broken(b"1234")
    for path in ("/sizes/f0", "/links/hard1"):
        attribute(path, content=Content(4, (Piece(0, broken, 0, 4),)))(tree)
    original = hard_tree()
    for path in ("/sizes/f0", "/links/hard1"):
        attribute(path, content=Content.of(b"1234"))(original)
    put(tree, "/special/pipe", Fifo(0, mtime=EPOCH))
    wanted = [
        Difference(b"links/hard1", "content", "4 bytes", "block 7 is corrupt"),
        Difference(b"sizes/f0", "content", "4 bytes", "block 7 is corrupt"),
    ]
    assert sorted(unreadable(tree), key=lambda one: one.path or b"") == wanted
    found = list(differences(original, tree, exact))
    assert [one for one in found if one.what == "content"] == wanted
    assert "/special/pipe: mode: 0622 | 0000" in told(found)
