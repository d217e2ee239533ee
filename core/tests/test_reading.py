"""How a reader says what is wrong, and what it makes of stored inodes and extents."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.reading import Corrupt, add_piece, reading, stored_inode
from fledge.tree.content import Content, MemorySource, Piece
from fledge.tree.inode import BlockDevice, CharDevice, Directory, Fifo, File, Inode, Socket, Symlink

XATTRS = {b"user.a": b"1"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Corrupt("its root is gone"), "some/a.img is not an ext5 image that can be read: its root is gone"),
        (OSError(5, "Input/output error"), "can't read some/a.img: Input/output error"),
    ],
)
def test_what_goes_wrong_names_the_file(error: Exception, message: str) -> None:
    with pytest.raises(BuildError) as caught, reading(Path("some/a.img"), "an ext5 image"):
        raise error
    assert caught.value.message == message


def test_a_bug_stays_one() -> None:
    with pytest.raises(ZeroDivisionError), reading(Path("some/a.img"), "an ext5 image"):
        raise ZeroDivisionError


def made(st_mode: int) -> Inode:
    return stored_inode(
        12, st_mode, 3, 4, 5, XATTRS, content=lambda: Content.of(b"c"), target=lambda: b"t", device=lambda: (6, 7)
    )


@pytest.mark.parametrize("kind", [File, Directory, Symlink, CharDevice, BlockDevice, Fifo, Socket])
def test_every_type_of_inode(kind: type[Inode]) -> None:
    inode = made(kind.FORMAT | 0o6751)
    assert type(inode) is kind
    assert (inode.mode, inode.uid, inode.gid, inode.mtime, inode.xattrs) == (0o6751, 3, 4, 5, XATTRS)
    if isinstance(inode, File):
        assert inode.content.read() == b"c"
    if isinstance(inode, Symlink):
        assert inode.target == b"t"
    if isinstance(inode, CharDevice | BlockDevice):
        assert (inode.major, inode.minor) == (6, 7)


@pytest.mark.parametrize("kind", [0, 0o030000, stat.S_IFREG | stat.S_IFIFO, 0o170000])
def test_an_unknown_type_is_corrupt(kind: int) -> None:
    with pytest.raises(Corrupt, match=f"^inode 12 is of the unknown type {kind:#o}$"):
        made(kind | 0o644)


def test_pieces_that_go_on_are_one() -> None:
    one, other = MemorySource(bytes(99)), MemorySource(bytes(99))
    pieces: list[Piece] = []
    for offset, source, start in ((0, one, 10), (10, one, 20), (20, other, 30), (40, other, 40), (50, other, 70)):
        add_piece(pieces, offset, source, start, 10)
    assert [(piece.offset, piece.source, piece.start, piece.length) for piece in pieces] == [
        (0, one, 10, 20),
        (20, other, 30, 10),
        (40, other, 40, 10),
        (50, other, 70, 10),
    ]
