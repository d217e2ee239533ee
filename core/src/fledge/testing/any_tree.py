"""Random trees for hypothesis, which a test that imports this needs to have installed."""

from __future__ import annotations

from hypothesis import strategies as st

from fledge.testing.trees import SECOND, data, sparse
from fledge.tree.content import Content
from fledge.tree.inode import BlockDevice, CharDevice, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.tree import Tree

NAMES = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"\0", b"n").replace(b"/", b"s"))
    .filter(lambda raw: raw not in (b".", b".."))
)
OWNERS = st.integers(0, (1 << 32) - 1)
MODES = st.integers(0, 0o7777)
XATTR_NAMES = st.sampled_from([b"user.a", b"user.longer-name", b"trusted.t", b"security.s"])


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """Files of some blocks, with holes and data that begin and end anywhere."""
    pieces, at = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 9000)), max_size=7)):
        pieces.append((at + gap, data(size, gap)))
        at += gap + size
    return sparse(at + draw(st.sampled_from([0, 1, 5000])), *pieces)


@st.composite
def trees(
    draw: st.DrawFn,
    *,
    seconds: tuple[int, int],
    entries: int = 25,
    xattr_size: int = 300,
    target_size: int = 200,
    major: int = 4095,
    minor: int = 1_048_575,
) -> Tree:
    """Folders, hard links and every kind of inode. `seconds`: the earliest and the latest mtime that the format holds.

    The others are the most that there is: entries of the tree, bytes of an xattr's value and of a symlink, device numbers.
    """
    times = st.integers(seconds[0] * SECOND, seconds[1] * SECOND)
    xattrs = st.dictionaries(XATTR_NAMES, st.binary(max_size=xattr_size), max_size=3)
    targets = st.binary(min_size=1, max_size=target_size).map(lambda raw: raw.replace(b"\0", b"x"))

    def inode() -> Inode:
        common = draw(MODES), draw(OWNERS), draw(OWNERS), draw(times), draw(xattrs)
        kind = draw(st.sampled_from([File, File, Symlink, CharDevice, BlockDevice, Fifo, Socket]))
        if kind is File:
            return File(draw(contents()), *common)
        if kind is Symlink:
            return Symlink(draw(targets), *common)
        if kind is CharDevice or kind is BlockDevice:
            return kind(draw(st.integers(0, major)), draw(st.integers(0, minor)), *common)
        return (Fifo if kind is Fifo else Socket)(*common)

    root = Directory(draw(MODES), draw(OWNERS), draw(OWNERS), draw(times), draw(xattrs))
    folders = [root]
    shared: list[Inode] = []
    for name in draw(st.lists(NAMES, max_size=entries, unique=True)):
        parent = draw(st.sampled_from(folders))
        what = draw(st.sampled_from(["inode", "inode", "folder", "link"]))
        if what == "folder":
            folder = Directory(draw(MODES), mtime=draw(times), xattrs=draw(xattrs))
            folders.append(folder)
            parent.entries[name] = folder
        elif what == "link" and shared:
            parent.entries[name] = draw(st.sampled_from(shared))
        else:
            shared.append(inode())
            parent.entries[name] = shared[-1]
    return Tree(root)
