"""The merged tree against umoci's unpack of the same layout, inode by inode, as the kernel shows it."""

import json
import os
from pathlib import Path

import pytest
from fledge.image.descriptor import Descriptor
from fledge.store import Store
from fledge.testing import oracles
from fledge.testing.tars import add_layer, archive, base256, header, member, padded, pax, write_layout
from fledge.testing.trees import CAP_NET_RAW, MINIMAL_ACL, differences
from fledge.tree.ingest import ingest
from fledge.tree.inode import Directory, File
from fledge.tree.layer import Layer
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import Digest

T = 1_600_000_000


def d(name: str, **fields: object) -> bytes:
    return header(name.encode(), b"5", **{"mode": 0o755, "mtime": T, **fields})  # type: ignore[arg-type]


def f(name: str, data: bytes = b"", **fields: object) -> bytes:
    return member(name.encode(), data, **{"mtime": T, **fields})


def link(flag: bytes, name: str, target: str) -> bytes:
    return header(name.encode(), flag, mode=0o777, mtime=T, link=target.encode())


def wh(name: str) -> bytes:
    return member(name.encode(), mode=0)


XATTRS = pax(
    (b"SCHILY.xattr.user.plain", b"value"),
    (b"SCHILY.xattr.user.binary", bytes(range(256))),
    (b"SCHILY.xattr.trusted.t", b"a\nb\0c"),
    (b"SCHILY.xattr.security.capability", CAP_NET_RAW),
    (b"SCHILY.xattr.system.posix_acl_access", MINIMAL_ACL),
)
ODD_NAMES = [b"\xff\xfe", b"new\nline", b" ", b"...", b"-rf", b"back\\slash", b".wh", b"..x", b"x" * 255]

LAYERS = [
    [
        d("./", mode=0o711, uid=3, gid=4, mtime=T + 1),
        d("etc/"), f("etc/passwd", b"root:x:0:0\n", mode=0o600, uid=1, gid=2),
        d("usr"), d("usr/bin", mode=0o1777, uid=5, gid=6, mtime=T + 7), f("usr/bin/sh", b"sh" * 5000, mode=0o4755),
        f("usr/bin/setgid", b"g", mode=0o2755, gid=8), f("usr/bin/all", b"", mode=0o7777, mtime=0),
        link(b"2", "bin", "usr/bin"), f("bin/through", b"the symlink"), link(b"2", "abs", "/usr/../usr/bin"),
        f("abs/absolute", b"a"), link(b"2", "up", "../../../../etc"), f("up/clamped", b"c"),
        link(b"2", "dangling", "no/where"), link(b"2", "loop", "loop"), link(b"2", "escape", "../../../../../etc/shadow"),
        f("../../dots", b"clamped"), f("/absolute", b"a"), f("./a/../b/./c", b"lexical"),
        f("h/one", b"linked", uid=9), link(b"1", "h/two", "h/one"), link(b"1", "three", "/h/one"),
        link(b"2", "h/sym", "one"), link(b"1", "h/sym2", "h/sym"), link(b"1", "h/up", "../../h/one"),
        header(b"null", b"3", mode=0o666, mtime=T, device=(1, 3)), header(b"disk", b"4", mode=0o660, mtime=T, device=(259, 70000)),
        header(b"pipe", b"6", mode=0o622, mtime=T), link(b"1", "pipe2", "pipe"),
        XATTRS, f("xattrs", b"x", mode=0o640), pax((b"SCHILY.xattr.user.dir", b"d")), d("xdir", mode=0o750),
        pax((b"SCHILY.xattr.trusted.onlink", b"l")), link(b"2", "xlink", "t"),
        *(pax((b"path", b"odd/" + name), (b"mtime", b"%d.123456789" % (T + at))) + f("x", name) for at, name in enumerate(ODD_NAMES)),
        pax((b"path", b"long/" + b"/".join([b"d" * 200] * 12)), (b"uid", b"4294967294"), (b"gid", b"2147483648")), f("x", b"deep"),
        pax((b"linkpath", b"t/" * 2047)), link(b"2", "longlink", "x"),
        f("big-id", uid=base256(4294967294, 8), gid=base256(3000000, 8)), f("future", mtime=base256(1 << 33, 12)),
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"sparse"), (b"GNU.sparse.realsize", b"100000")),
        f("x", padded(b"1\n4096\n3\n") + b"abc"),
    ],
    [
        d("gone"), f("gone/a", b"1"), f("gone/b/c", b"2"), f("opaque/old", b"3"), f("opaque/sub/old", b"4"),
        f("replaced/below", b"5"), f("file", b"6"), d("attrs", mode=0o700, uid=1), f("attrs/kept", b"7"),
        f("n1", b"names"), link(b"1", "n2", "n1"), link(b"1", "n3", "n1"), link(b"2", "wlink", "opaque"),
        f("twice", b"first"), f("twice", b"second", uid=4),
    ],
    [
        wh(".wh.gone"), d("opaque", mode=0o711), wh("opaque/.wh..wh..opq"), f("opaque/new", b"n"),
        f("replaced", b"a file now"), d("file", mode=0o500), f("file/below", b"b"),
        pax((b"SCHILY.xattr.user.second", b"2")), d("attrs", mode=0o1755, uid=2, gid=3, mtime=T + 100),
        f("n2", b"overwritten"), wh(".wh.n3"), wh(".wh.wlink"), wh("none/.wh.x"), wh(".wh.absent"),
        link(b"1", "from-below", "usr/bin/sh"), wh("bin/.wh.setgid"), f("bin/new", b"into usr/bin", mode=0o755),
    ],
    [f("gone/again", b"g"), d("opaque/sub"), f("n1", b"third"), wh("opaque/.wh.none")],
]  # fmt: skip


def unpacked(layout: Path, folder: Path) -> Path:
    oracles.need_root()
    oracles.need_tool("umoci")
    oracles.run("umoci", "unpack", "--image", f"{layout}:latest", folder)
    return folder / "rootfs"


@pytest.fixture
def hard(tmp_path: Path, store: Store) -> tuple[Tree, Path]:
    layers = [archive(*members) for members in LAYERS]
    write_layout(tmp_path / "layout", layers)
    return Tree(merge([add_layer(store, tar) for tar in layers], 0)), unpacked(tmp_path / "layout", tmp_path / "bundle")


def settle(tree: Tree, rootfs: Path) -> None:
    """Gives directories that no layer lists umoci's time for them, which is that of its run.

    So it gives the directory in which it makes them, here the root, whatever the root's own entry says.
    """
    for path, inode in tree.walk():
        if isinstance(inode, Directory) and (inode.mtime == 0 or not path):
            inode.mtime = os.lstat(os.path.join(os.fsencode(rootfs), path)).st_mtime_ns


def test_hard_image(hard: tuple[Tree, Path]) -> None:
    tree, rootfs = hard
    assert tree.root.mtime == (T + 1) * 10**9
    settle(tree, rootfs)
    assert differences(tree, rootfs) == []
    assert len(list(tree.walk())) > 70


def test_the_comparison_can_fail(hard: tuple[Tree, Path]) -> None:
    tree, rootfs = hard
    settle(tree, rootfs)
    (rootfs / "etc" / "passwd").write_bytes(b"root:y:0:0\n")
    (rootfs / "file" / "below").chmod(0o640)
    (rootfs / "opaque" / "old").touch()
    found = "\n".join(differences(tree, rootfs))
    for what in ("/etc/passwd: sha256", "/file/below: mode", "/opaque/old: not in the tree"):
        assert what in found


def layers_of(layout: Path, store: Store) -> list[Layer]:
    def document(digest: str) -> dict[str, object]:
        return json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())  # type: ignore[no-any-return]

    index = json.loads((layout / "index.json").read_bytes())
    manifest: dict[str, object] = document(index["manifests"][0]["digest"])
    diff_ids = document(manifest["config"]["digest"])["rootfs"]["diff_ids"]  # type: ignore[index]
    layers = []
    for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):  # type: ignore[arg-type, call-overload]
        digest = Digest.parse(layer["digest"])
        blob = (layout / "blobs" / digest.algorithm / digest.hex).read_bytes()
        layers.append(
            ingest(store, Descriptor(layer["mediaType"], digest, layer["size"]), Digest.parse(diff_id), [blob])
        )
    return layers


def test_real_image(tmp_path: Path, store: Store, nginx: Path) -> None:
    tree = Tree(merge(layers_of(nginx, store), 0))
    rootfs = unpacked(nginx, tmp_path / "bundle")
    settle(tree, rootfs)
    assert differences(tree, rootfs) == []
    assert sum(isinstance(inode, File) for _, inode in tree.walk()) > 5000
