"""Two trees, inode by inode: what was to go into an artifact, and what is read back from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from fledge.errors import BuildError
from fledge.tree.content import Content, Piece
from fledge.tree.inode import BlockDevice, CharDevice, Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.values import show_path

if TYPE_CHECKING:
    from fledge.kinds import Filesystem
    from fledge.tree.tree import Tree

KINDS: Final[dict[type[Inode], str]] = {
    Directory: "a directory",
    File: "a regular file",
    Symlink: "a symlink",
    CharDevice: "a character device",
    BlockDevice: "a block device",
    Fifo: "a fifo",
    Socket: "a socket",
}
Advance = Callable[[int], None]
_CHUNK: Final = 1 << 20
_SHOWN: Final = 16


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be."""

    path: bytes | None
    """Inside the artifact, relative to its root; None: of the artifact as a whole."""
    what: str
    """`entry`, `kind`, `mode`, `owner`, `mtime`, `xattr NAME`, `content`, `target`, `device`, `hard link`; of the
    artifact: `checksum`, `format`, `structure`."""
    expected: str
    found: str


def differences(
    expected: Tree, found: Tree, filesystem: Filesystem, advance: Advance = lambda count: None
) -> Iterator[Difference]:
    """Every difference, by path. What is missing or too much is told once, without what is below it.

    `filesystem`: the driver that packed `expected`; what it says that it does not hold (`held_mtime`, `held_xattrs`,
    `links_symlinks`) is not expected. `advance` is called with the sizes of the files of `found` that were read.
    """
    first_expected: dict[int, bytes] = {}
    first_found: dict[int, bytes] = {}
    yield from _of_inode(b"", expected.root, found.root, filesystem)
    stack: list[tuple[bytes, Directory, Directory]] = [(b"", expected.root, found.root)]
    while stack:
        prefix, ours, theirs = stack.pop()
        below = []
        for name in sorted(ours.entries.keys() | theirs.entries.keys()):
            path = prefix + name
            one, other = ours.entries.get(name), theirs.entries.get(name)
            if one is None or other is None:
                yield Difference(path, "entry", _kind(one), _kind(other))
                continue
            # Two names that share an inode must do so on the other side, and no others.
            linked = first_expected.setdefault(id(one), path), first_found.setdefault(id(other), path)
            if linked[0] != linked[1] and (filesystem.links_symlinks or not isinstance(one, Symlink)):
                yield Difference(path, "hard link", *(_link(path, first) for first in linked))
            if linked != (path, path) and linked[0] == linked[1]:
                continue  # Compared under its first name.
            yield from _of_inode(path, one, other, filesystem)
            if isinstance(other, File):
                advance(other.content.size)
            if isinstance(one, Directory) and isinstance(other, Directory):
                below.append((path + b"/", one, other))
        stack.extend(reversed(below))


def unreadable(tree: Tree, advance: Advance = lambda count: None) -> Iterator[Difference]:
    """Reads every byte of every file; tells what can't be read. `advance` as for `differences`."""
    done: set[int] = set()
    for path, inode in tree.walk():
        if isinstance(inode, File) and id(inode) not in done:
            done.add(id(inode))
            try:
                for piece in inode.content.pieces:
                    for _ in _views(piece, piece.offset, piece.offset + piece.length):
                        pass
            except BuildError as error:
                yield Difference(path, "content", f"{inode.content.size} bytes", error.message)
            advance(inode.content.size)


def _of_inode(path: bytes, one: Inode, other: Inode, filesystem: Filesystem) -> Iterator[Difference]:
    if type(one) is not type(other):
        yield Difference(path, "kind", _kind(one), _kind(other))
        return
    pairs = [
        ("mode", f"{one.mode:04o}", f"{other.mode:04o}"),
        ("owner", f"{one.uid}:{one.gid}", f"{other.uid}:{other.gid}"),
        ("mtime", _moment(filesystem.held_mtime(one.mtime)), _moment(other.mtime)),
    ]
    held = filesystem.held_xattrs(one.xattrs)
    pairs += [
        (f"xattr {_text(name)}", _value(held.get(name)), _value(other.xattrs.get(name)))
        for name in sorted(held.keys() | other.xattrs.keys())
    ]
    if isinstance(one, Symlink) and isinstance(other, Symlink):
        pairs.append(("target", _text(one.target), _text(other.target)))
    elif isinstance(one, Device) and isinstance(other, Device):
        pairs.append(("device", f"{one.major},{one.minor}", f"{other.major},{other.minor}"))
    yield from (Difference(path, what, ours, theirs) for what, ours, theirs in pairs if ours != theirs)
    if isinstance(one, File) and isinstance(other, File):
        try:
            yield from _of_contents(path, one.content, other.content)
        except BuildError as error:
            yield Difference(path, "content", f"{one.content.size} bytes", error.message)


def _of_contents(path: bytes, one: Content, other: Content) -> Iterator[Difference]:
    if one.size != other.size:
        yield Difference(path, "content", f"{one.size} bytes", f"{other.size} bytes")
        return
    for offset, ours, theirs in _side_by_side(one, other):
        if ours != theirs:
            at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
            shown = (f"{part[at : at + _SHOWN].hex(' ')} at byte {offset + at}" for part in (ours, theirs))
            yield Difference(path, "content", *shown)
            return


def _side_by_side(one: Content, other: Content) -> Iterator[tuple[int, bytes, bytes]]:
    """Both contents of one size in chunks, with their offset; where both have a hole there is none.

    A sparse file may have terabytes of zeros, which nobody waits for.
    """
    edges = {0, one.size}
    for piece in (*one.pieces, *other.pieces):
        edges |= {piece.offset, piece.offset + piece.length}
    bounds = sorted(edges)
    ours, theirs = _Pieces(one), _Pieces(other)
    for begin, end in pairwise(bounds):
        a, b = ours.at(begin), theirs.at(begin)
        if a is None and b is None:
            continue
        for offset in range(begin, end, _CHUNK):
            until = min(offset + _CHUNK, end)
            yield offset, _bytes(a, offset, until), _bytes(b, offset, until)


class _Pieces:
    """Finds the piece at an offset, asked for by rising offset."""

    def __init__(self, content: Content) -> None:
        self._pieces = iter(content.pieces)
        self._piece = next(self._pieces, None)

    def at(self, offset: int) -> Piece | None:
        """None where there is a hole."""
        while self._piece is not None and self._piece.offset + self._piece.length <= offset:
            self._piece = next(self._pieces, None)
        return self._piece if self._piece is not None and self._piece.offset <= offset else None


def _bytes(piece: Piece | None, begin: int, end: int) -> bytes:
    if piece is None:
        return bytes(end - begin)
    return b"".join(_views(piece, begin, end))


def _views(piece: Piece, begin: int, end: int) -> Iterator[memoryview]:
    """What the piece has from `begin` to `end` of the file; given back behind the reader."""
    for offset in range(begin, end, _CHUNK):
        start, count = piece.start + offset - piece.offset, min(_CHUNK, end - offset)
        yield piece.source.view(start, count)
        piece.source.release(start, count)


def _kind(inode: Inode | None) -> str:
    return "nothing" if inode is None else KINDS[type(inode)]


def _link(path: bytes, first: bytes) -> str:
    return "an inode of its own" if first == path else f"that of {show_path(first)}"


def _moment(nanoseconds: int) -> str:
    seconds, part = divmod(nanoseconds, 10**9)
    return f"{seconds}.{part:09}"


def _value(value: bytes | None) -> str:
    return "none" if value is None else f"0x{value.hex()}"


def _text(raw: bytes) -> str:
    shown = show_path(raw)
    return shown if raw.startswith(b"/") else shown[1:]
