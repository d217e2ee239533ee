"""What nobody thought of: damaged tars never do worse than one error, and any stack of layers is what a simple model says."""

import random
import time
from pathlib import Path

from fledge.errors import BuildError
from fledge.store import Store
from fledge.testing.tars import GNU, add_layer, archive, header, member, octal, padded, pax
from fledge.tree.inode import Directory, File, Symlink
from fledge.tree.merge import merge
from fledge.tree.tar import TarReader
from fledge.tree.tree import Tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SAMPLE = archive(
    pax((b"comment", b"c"), (b"uid", b"5"), flag=b"g"),
    pax((b"path", b"long/" + b"p" * 150), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.k", b"v\0v")),
    member(b"x", b"d" * 700),
    header(b"dir/", b"5", mode=0o755),
    member(b"L", b"n" * 120 + b"\0", b"L"),
    member(b"K", b"t" * 120 + b"\0", b"K"),
    header(b"x", b"2", link=b"t", magic=GNU),
    header(b"h", b"1", link=b"dir/../x"),
    header(b"c", b"3", device=(1, 3)),
    header(b"s", b"S", size=3, magic=GNU, tail={386: octal(9, 12) + octal(3, 12), 483: octal(50, 12)}) + padded(b"abc"),
    pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"90")),
    member(b"z", padded(b"1\n0\n3\n") + b"abc"),
    pax((b"GNU.sparse.map", b"0,1,5,2"), (b"GNU.sparse.size", b"90")),
    member(b"y", b"abc"),
    member(b"last", b"x" * 512),
)  # fmt: skip


def mend(tar: bytearray) -> None:
    """Makes every header's checksum right again, so that damage gets past it."""
    for at in range(0, len(tar) - 511, 512):
        if tar[at + 257 : at + 262] == b"ustar":
            tar[at + 148 : at + 156] = b" " * 8
            tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])


@settings(max_examples=600, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(SAMPLE) - 1),
            st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([b"\xff" * 12, b"\x80", b"0", b"-1", b"\0" * 8, b"777777777777"])),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, len(SAMPLE)),
    st.booleans(),
    st.sampled_from([1 << 20, 1000]),
)  # fmt: skip
def test_damaged_tars(damage: list[tuple[int, bytes]], cut: int, mended: bool, step: int) -> None:
    tar = bytearray(SAMPLE)
    for at, data in damage:
        tar[at : at + len(data)] = data
    del tar[len(SAMPLE) :]
    if mended:
        mend(tar)
    if cut % 3 == 0:
        del tar[cut:]
    start = time.monotonic()
    reader = TarReader("layer x")
    try:
        for at in range(0, len(tar), step):
            reader.feed(bytes(tar[at : at + step]))
        index = reader.finish()
        assert len(index.paths) == len(list(index.records()))
    except BuildError as error:
        assert str(error).startswith("layer x: ")  # noqa: PT017
    assert time.monotonic() - start < 30


NAMES = ["a", "b", "c"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
operations = st.one_of(
    st.tuples(st.just("file"), paths),
    st.tuples(st.just("directory"), paths),
    st.tuples(st.just("symlink"), paths),
    st.tuples(st.just("whiteout"), paths),
    st.tuples(st.just("opaque"), st.one_of(st.just(""), paths)),
)
layer = st.lists(operations, max_size=6)

Model = dict[str, str]


def below(tree: Model, path: str) -> list[str]:
    return [other for other in tree if other.startswith(path + "/")]


def apply(tree: Model, changes: list[tuple[str, str]], number: int) -> bool:
    """A flat map from path to content, with a layer applied as layer.md's text says; False when the layer is not valid."""
    for kind, path in changes:
        if kind == "whiteout":
            for gone in [path, *below(tree, path)]:
                tree.pop(gone, None)
        elif kind == "opaque":
            for gone in below(tree, path) if path else list(tree):
                del tree[gone]
    for at, (kind, path) in enumerate(changes):
        if kind in ("whiteout", "opaque"):
            continue
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if tree.setdefault(parent, "/") != "/":
                return False
        if not (kind == "directory" and tree.get(path) == "/"):
            for gone in [path, *below(tree, path)]:
                tree.pop(gone, None)
        tree[path] = {"file": f"{number}.{at}", "directory": "/", "symlink": "-> nowhere"}[kind]
    return True


def to_member(kind: str, path: str, content: str) -> bytes:
    name = path.encode()
    folder, _, last = name.rpartition(b"/")
    prefix = folder + b"/" if folder else b""
    match kind:
        case "file":
            return member(name, content.encode())
        case "directory":
            return header(name, b"5", mode=0o755)
        case "symlink":
            return header(name, b"2", link=b"nowhere")
        case "whiteout":
            return member(prefix + b".wh." + last)
    return member((name + b"/" if name else b"") + b".wh..wh..opq")


def listing(tree: Tree) -> Model:
    found = {}
    for path, inode in tree.walk():
        match inode:
            case Directory():
                found[path.decode()] = "/"
            case File():
                found[path.decode()] = inode.content.read().decode()
            case Symlink():
                found[path.decode()] = "-> " + inode.target.decode()
    del found[""]
    return found


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(layer, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_random_layers(tmp_path: Path, stack: list[list[tuple[str, str]]], shuffle: random.Random) -> None:
    """Symlinks point nowhere here and are refused as parents by the model: where they lead is tested case by case."""
    store = Store(tmp_path / "store")
    expected: Model = {}
    layers = []
    valid = True
    for number, changes in enumerate(stack):
        entries = [(kind, to_member(kind, path, f"{number}.{at}")) for at, (kind, path) in enumerate(changes)]
        # Where markers stand among the other entries must not matter (cases 4 and 5).
        order = list(range(len(entries)))
        shuffle.shuffle(order)
        markers = [entries[at][1] for at in order if entries[at][0] in ("whiteout", "opaque")]
        members = [tar for kind, tar in entries if kind not in ("whiteout", "opaque")]
        for marker in markers:
            members.insert(shuffle.randint(0, len(members)), marker)
        if not apply(expected, changes, number):
            valid = False
            break
        layers.append(add_layer(store, archive(*members)))
    if valid:
        assert listing(Tree(merge(layers, 0))) == expected
