"""Layer merge, case by case: OCI image-spec layer.md, and what its text leaves to sense."""

import time
from collections.abc import Callable

import pytest
from fledge.errors import BuildError
from fledge.testing.tars import END, archive, header, member, pax
from fledge.tree.inode import BlockDevice, CharDevice, Device, Directory, Fifo, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath

EPOCH = 1_234_567_890_123_456_789
Merged = Callable[..., Tree]


def d(name: str, **fields: object) -> bytes:
    return header(name.encode(), b"5", **{"mode": 0o755, **fields})  # type: ignore[arg-type]


def f(name: str, data: str = "", **fields: object) -> bytes:
    return member(name.encode(), data.encode(), **fields)


def s(name: str, target: str) -> bytes:
    return header(name.encode(), b"2", link=target.encode())


def h(name: str, target: str, **fields: object) -> bytes:
    return header(name.encode(), b"1", link=target.encode(), **fields)  # type: ignore[arg-type]


def show(inode: Inode) -> str:
    match inode:
        case Directory():
            return "/"
        case File():
            return inode.content.read().decode()
        case Symlink():
            return "-> " + inode.target.decode()
    return type(inode).__name__


def listing(tree: Tree) -> dict[str, str]:
    return {path.decode(): show(inode) for path, inode in tree.walk() if path}


def at(tree: Tree, path: str) -> Inode:
    inode = tree.get(GuestPath.parse(path))
    assert inode is not None, path
    return inode


LOWER = [d("a"), d("a/b"), f("a/b/bar", "bar"), f("a/x", "x"), f("f", "lower"), d("e"), f("e/x", "e"), s("link", "e")]

# id: layers above LOWER, and all that the tree holds then.
TREES: dict[str, tuple[list[list[bytes]], dict[str, str]]] = {
    "case_002-directory-to-file": (
        [[f("a", "file")]],
        {"a": "file", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_002-directory-to-symlink": (
        [[s("a", "e")]],
        {"a": "-> e", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_002-file-to-directory": (
        [[d("f"), f("f/new", "n")]],
        {"a": "/", "a/b": "/", "a/b/bar": "bar", "a/x": "x", "e": "/", "e/x": "e", "f": "/", "f/new": "n", "link": "-> e"},
    ),
    "case_002-symlink-to-directory": (
        [[d("link"), f("link/new", "n")]],
        {"a": "/", "a/b": "/", "a/b/bar": "bar", "a/x": "x", "e": "/", "e/x": "e", "f": "lower", "link": "/", "link/new": "n"},
    ),
    "case_003-file": (
        [[f(".wh.f")]],
        {"a": "/", "a/b": "/", "a/b/bar": "bar", "a/x": "x", "e": "/", "e/x": "e", "link": "-> e"},
    ),
    "case_003-subtree": ([[f(".wh.a")]], {"e": "/", "e/x": "e", "f": "lower", "link": "-> e"}),
    "case_004-whiteout-first": (
        [[f(".wh.a"), f(".wh.f"), f("f", "upper")]],
        {"e": "/", "e/x": "e", "f": "upper", "link": "-> e"},
    ),
    "case_004-whiteout-last": (
        [[f("f", "upper"), f(".wh.f"), f(".wh.a")]],
        {"e": "/", "e/x": "e", "f": "upper", "link": "-> e"},
    ),
    "case_004-directory-whiteout-last": (
        [[d("a"), f("a/new", "n"), f(".wh.a")]],
        {"a": "/", "a/new": "n", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_005-marker-first": (
        [[d("a"), f("a/.wh..wh..opq"), f("a/b/c/foo", "foo")]],
        {"a": "/", "a/b": "/", "a/b/c": "/", "a/b/c/foo": "foo", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_005-marker-last": (
        [[f("a/b/c/foo", "foo"), f("a/.wh..wh..opq")]],
        {"a": "/", "a/b": "/", "a/b/c": "/", "a/b/c/foo": "foo", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_005-marker-in-the-root": ([[f("new", "n"), f(".wh..wh..opq")]], {"new": "n"}),
    "case_007": (
        [[f(".wh.a")], [f("a/baz", "baz")]],
        {"a": "/", "a/baz": "baz", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_008": (
        [[f(".wh.a")], [d("a"), f("a/new", "n")]],
        {"a": "/", "a/new": "n", "e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_011": (
        [[f(".wh.link")]],
        {"a": "/", "a/b": "/", "a/b/bar": "bar", "a/x": "x", "e": "/", "e/x": "e", "f": "lower"},
    ),
    "case_012": (
        [[f("link/.wh.x"), f(".wh.a")]],
        {"e": "/", "f": "lower", "link": "-> e"},
    ),
    "case_012-opaque": (
        [[f("link/.wh..wh..opq"), f("link/new", "n"), f(".wh.a")]],
        {"e": "/", "e/new": "n", "f": "lower", "link": "-> e"},
    ),
    # overlayfs marks a directory opaque that took a symlink's place: what the symlink pointed to is not meant.
    "case_012-opaque-directory-over-symlink": (
        [[d("link"), f("link/.wh..wh..opq"), f(".wh.a")]],
        {"e": "/", "e/x": "e", "f": "lower", "link": "/"},
    ),
    "case_012-opaque-directory-over-symlink-marker-first": (
        [[f("link/.wh..wh..opq"), d("link"), f(".wh.a")]],
        {"e": "/", "e/x": "e", "f": "lower", "link": "/"},
    ),
    "case_012-the-symlink-goes-too": (
        [[f(".wh.link"), f("link/.wh.x"), f(".wh.a")]],
        {"e": "/", "f": "lower"},
    ),
    "case_013": ([[h(".wh.a", "f"), h(".wh.e", "nowhere"), d(".wh.link")]], {"f": "lower"}),
    "case_014": (
        [[f(".wh.none"), f("none/.wh.x"), f("none/.wh..wh..opq"), f("f/.wh.x"), f(".wh.a")]],
        {"e": "/", "e/x": "e", "f": "lower", "link": "-> e"},
    ),
    "case_022": (
        [[f(".wh.a"), f("f", "1"), f("f", "2"), d("e", mode=0o700), d("e", mode=0o711)]],
        {"e": "/", "e/x": "e", "f": "2", "link": "-> e"},
    ),
    "case_023": (
        [[d(".wh..wh.plnk"), f(".wh..wh.plnk/12.34", "kept"), h("g", ".wh..wh.plnk/12.34"), f(".wh..wh.aufs"), f(".wh.a")]],
        {"e": "/", "e/x": "e", "f": "lower", "g": "kept", "link": "-> e"},
    ),
    "case_039": (
        [[f("../../up", "u"), f("a/../../../b/../../up2", "u"), f("/abs", "u"), f("./././dot", "u"), f(".wh.a"), f(".wh.e")]],
        {"abs": "u", "dot": "u", "f": "lower", "link": "-> e", "up": "u", "up2": "u"},
    ),
    "case_040-symlink": (
        [[s("out", "../../../etc"), f("out/passwd", "p"), f(".wh.a"), f(".wh.e")]],
        {"etc": "/", "etc/passwd": "p", "f": "lower", "link": "-> e", "out": "-> ../../../etc"},
    ),
    "case_040-absolute-symlink": (
        [[s("out", "/e"), f("out/in", "p"), f(".wh.a")]],
        {"e": "/", "e/in": "p", "e/x": "e", "f": "lower", "link": "-> e", "out": "-> /e"},
    ),
    "case_040-hard-link": (
        [[h("g", "../../../f"), h("k", "link/../e/x"), f(".wh.a")]],
        {"e": "/", "e/x": "e", "f": "lower", "g": "lower", "k": "e", "link": "-> e"},
    ),
    "case_040-whiteout": (
        [[s("out", "/../.."), f("../../.wh.f"), f(".wh.a")], [f("out/.wh.e")]],
        {"link": "-> e", "out": "-> /../.."},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TREES)
def test_tree(merged: Merged, case: str) -> None:
    upper, expected = TREES[case]
    assert listing(merged(LOWER, *upper)) == expected


def test_case_001_directory_over_directory(merged: Merged) -> None:
    lower = [pax((b"SCHILY.xattr.user.a", b"1")), d("a", mode=0o700, uid=1, mtime=5), f("a/x", "x")]
    upper = [pax((b"SCHILY.xattr.user.b", b"2")), d("a", mode=0o1777, uid=2, gid=3, mtime=6)]
    tree = merged(lower, upper)
    a = at(tree, "/a")
    assert (a.mode, a.uid, a.gid, a.mtime, a.xattrs) == (0o1777, 2, 3, 6 * 10**9, {b"user.b": b"2"})
    assert listing(tree) == {"a": "/", "a/x": "x"}


def test_case_006_opaque_marker_keeps_the_attributes(merged: Merged) -> None:
    tree = merged([d("a", mode=0o700, uid=7, mtime=5), f("a/x")], [f("a/.wh..wh..opq", mode=0, mtime=9)])
    a = at(tree, "/a")
    assert (a.mode, a.uid, a.mtime) == (0o700, 7, 5 * 10**9)
    assert listing(tree) == {"a": "/"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(".wh.", id="case_009"),
        pytest.param("a/.wh.", id="case_009-below"),
        pytest.param(".wh..", id="case_010-dot"),
        pytest.param("a/.wh...", id="case_010-dot-dot"),
        ".wh.x/file",
        "a/.wh..wh.plnk/file",
    ],
)
def test_invalid_whiteout(merged: Merged, name: str) -> None:
    with pytest.raises(BuildError, match=rf"layer sha256:[0-9a-f]{{64}}: entry '/{name}': .*(whiteout|\.wh\.)"):
        merged(LOWER, [f(name)])


def test_case_015_a_single_layer_with_markers(merged: Merged) -> None:
    assert listing(merged([f(".wh.x"), d("a"), f("a/.wh..wh..opq"), f("a/.wh.y"), f("a/y", "y")])) == {
        "a": "/",
        "a/y": "y",
    }


def test_case_016_overwritten_name_of_a_hard_link(merged: Merged) -> None:
    tree = merged([f("one", "old"), h("two", "one"), h("three", "one")], [f("two", "new")])
    assert listing(tree) == {"one": "old", "two": "new", "three": "old"}
    assert at(tree, "/one") is at(tree, "/three")


def test_case_017_hard_link_into_a_lower_layer(merged: Merged) -> None:
    tree = merged([f("one", "lower")], [h("two", "one"), f("one", "upper"), h("three", "one")])
    assert listing(tree) == {"one": "upper", "two": "lower", "three": "upper"}
    assert at(tree, "/one") is at(tree, "/three")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([h("g", "none")], id="case_017-missing"),
        pytest.param([h("g", "later"), f("later")], id="case_017-later"),
        pytest.param([h("g", "f"), f(".wh.f")], id="case_017-hidden"),
        pytest.param([h("g", "none/f")], id="case_017-missing-parent"),
        pytest.param([h("g", "a")], id="directory"),
        pytest.param([h("x", "y"), h("y", "x")], id="case_049-two"),
        pytest.param([h("f", "f")], id="case_049-itself"),
        pytest.param([h("e/x", "link/x")], id="case_049-itself-through-a-symlink"),
        pytest.param([h("x", "x")], id="case_049-new"),
    ],
)
def test_hard_link_without_target(merged: Merged, members: list[bytes]) -> None:
    with pytest.raises(BuildError, match=r"layer sha256:[0-9a-f]{64}: entry '/(g|x|f|e/x)': the hard link's target /"):
        merged(LOWER, members)


def test_case_018_whiteout_of_one_of_the_names(merged: Merged) -> None:
    tree = merged([f("one", "x"), h("two", "one"), h("d/three", "one")], [f(".wh.two")])
    assert listing(tree) == {"d": "/", "d/three": "x", "one": "x"}
    assert at(tree, "/one") is at(tree, "/d/three")


def test_case_019_hard_link_to_a_symlink(merged: Merged) -> None:
    tree = merged([d("dir"), s("one", "dir"), h("two", "one")])
    assert isinstance(at(tree, "/two"), Symlink)
    assert at(tree, "/one") is at(tree, "/two")


def test_case_020_absolute_hard_link_target(merged: Merged) -> None:
    tree = merged([f("a/one", "x"), h("two", "/a/one")])
    assert at(tree, "/two") is at(tree, "/a/one")


def test_hard_link_leaves_its_own_metadata_aside(merged: Merged) -> None:
    tree = merged([f("one", "x", mode=0o4755, uid=3), h("two", "one", mode=0o600, uid=9, mtime=7)])
    assert (at(tree, "/two").mode, at(tree, "/two").uid) == (0o4755, 3)


def test_case_021_parents_that_are_not_listed(merged: Merged) -> None:
    tree = merged([f("a/b/file", "x", uid=5), h("c/d/link", "a/b/file")])
    for path in ("/", "/a", "/a/b", "/c", "/c/d"):
        folder = at(tree, path)
        assert (type(folder), folder.mode, folder.uid, folder.gid, folder.mtime) == (Directory, 0o755, 0, 0, EPOCH), (
            path
        )


def test_case_021_whiteouts_make_no_parents(merged: Merged) -> None:
    assert listing(merged([f("a/.wh.x"), f("b/.wh..wh..opq")])) == {}


def test_case_038_devices_and_fifos(merged: Merged) -> None:
    tree = merged(
        [
            header(b"null", b"3", mode=0o666, device=(1, 3)),
            header(b"disk", b"4", mode=0o660, gid=6, device=(259, 0o3777777)),
            header(b"pipe", b"6", mode=0o600),
            pax((b"SCHILY.devmajor", b"4095"), (b"SCHILY.devminor", b"1048575")),
            header(b"star", b"3"),
        ]
    )
    numbers = {path: (type(node), node.major, node.minor) for path, node in tree.walk() if isinstance(node, Device)}
    assert numbers == {
        b"null": (CharDevice, 1, 3),
        b"disk": (BlockDevice, 259, 1048575),
        b"star": (CharDevice, 4095, 1048575),
    }
    assert isinstance(at(tree, "/pipe"), Fifo)
    assert at(tree, "/disk").gid == 6


@pytest.mark.parametrize("name", ["./", "/", ".", "a/.."])
def test_root_entry(merged: Merged, name: str) -> None:
    root = merged([f("x", "x")], [d(name, mode=0o1700, uid=4, mtime=3)]).root
    assert (root.mode, root.uid, root.mtime, list(root.entries)) == (0o1700, 4, 3 * 10**9, [b"x"])


@pytest.mark.parametrize("root", [f("./", "x"), s("./", "etc"), h("/", "f"), header(b"..", b"6")])
def test_case_041_root_of_another_type(merged: Merged, root: bytes) -> None:
    with pytest.raises(BuildError, match=r"entry '/': .*root"):
        merged(LOWER, [root])


def test_case_042_escaping_symlink_is_kept(merged: Merged) -> None:
    target = "../../../../etc/./passwd//"
    assert listing(merged([s("l", target), s("abs", "/../x")])) == {"l": "-> " + target, "abs": "-> /../x"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([f("f/below")], "/f on its path is not a directory"),
        ([s("l", "f"), f("l/below")], "/f on its path is not a directory"),
        ([s("l", "l"), f("l/x")], "crosses more than 40 symlinks"),
        ([s("l", "m"), s("m", "l"), h("g", "l/x")], "crosses more than 40 symlinks"),
    ],
)
def test_path_that_leads_nowhere(merged: Merged, members: list[bytes], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        merged(LOWER, members)


def test_entries_follow_symlinks_of_the_layer_itself(merged: Merged) -> None:
    tree = merged([d("usr"), d("usr/bin"), s("bin", "usr/bin"), f("bin/sh", "sh"), f("bin/ls", "ls")])
    assert listing(tree) == {"bin": "-> usr/bin", "usr": "/", "usr/bin": "/", "usr/bin/ls": "ls", "usr/bin/sh": "sh"}


def test_a_replaced_symlink_no_longer_leads_anywhere(merged: Merged) -> None:
    """Where a path leads is remembered from entry to entry, and must be forgotten here."""
    tree = merged(LOWER, [f("link/1", "1"), d("link"), f("link/2", "2"), f("a", ""), d("a"), f("a/3", "3")])
    assert listing(tree) == {
        "a": "/", "a/3": "3", "e": "/", "e/1": "1", "e/x": "e", "f": "lower", "link": "/", "link/2": "2",
    }  # fmt: skip


def test_a_symlink_that_is_replaced_by_way_of_itself(merged: Merged) -> None:
    """`a/a` is the name `a` again, where `a` leads to its own folder: the directory takes the symlink's place."""
    tree = merged([s("c/a", "."), d("c/a/a"), d("c/a/a/d"), f("c/a/a/d/f", "f")])
    assert listing(tree) == {"c": "/", "c/a": "/", "c/a/a": "/", "c/a/a/d": "/", "c/a/a/d/f": "f"}


@pytest.mark.parametrize("length", [251, 252, 255])
def test_a_whiteout_of_a_long_name(merged: Merged, length: int) -> None:
    name = b"n" * length
    below = [d("a"), pax((b"path", b"a/" + name)), f("x")]
    assert listing(merged(below, [pax((b"path", b"a/.wh." + name)), f("x")])) == {"a": "/"}


@pytest.mark.parametrize("name", [b"n" * 256, b".wh." + b"n" * 256])
def test_a_name_that_is_too_long(merged: Merged, name: bytes) -> None:
    with pytest.raises(BuildError, match=f"a name in the path has {len(name)} bytes; Linux allows 255"):
        merged([pax((b"path", b"a/" + name)), f("x")])


def test_symlinks_do_not_make_the_tree_deeper_than_a_path(merged: Merged) -> None:
    def link(name: str, target: str) -> bytes:
        return pax((b"linkpath", target.encode())) + s(name, "-")

    deep = "/".join(["d"] * 1500)
    assert len(listing(merged([link("l1", deep), f("l1/x")]))) == 1502
    with pytest.raises(BuildError, match="longer than Linux allows"):
        merged([link("l1", deep), f("l1/x"), link("l2", "l1/" + deep), f("l2/x")])


def test_case_048_thousands_of_markers_take_linear_time(merged: Merged) -> None:
    def seconds(count: int) -> float:
        lower = [f(f"d{i:05}/f{j}") for i in range(count) for j in range(3)]
        upper = [f(f"d{i:05}/.wh..wh..opq") for i in range(count)] + [f(f".wh.d{i:05}") for i in range(count)]
        best = 60.0
        for _ in range(3):
            start = time.perf_counter()
            assert listing(merged(lower, upper)) == {}
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(4000) < 8 * seconds(1000) + 0.5


def test_layer_without_entries(merged: Merged) -> None:
    assert listing(merged([], [f("x", "x")], [])) == {"x": "x"}
    assert archive() == END
