"""What readers of artifacts share: how they say that one is broken, and how stored inodes and extents become those of a tree.

An artifact may come from anywhere and say anything, so a reader checks before it believes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK

from fledge.errors import BuildError
from fledge.tree.content import Content, Piece, Source
from fledge.tree.inode import BlockDevice, CharDevice, Directory, Fifo, File, Inode, Socket, Symlink


class Corrupt(Exception):  # noqa: N818 - `reading` words it with the file's path
    """What is wrong with the artifact, or which feature of it is not supported."""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Raises BuildError, with the path, for an OSError and for Corrupt. `what`: with its article, such as `an ext4 image`."""
    try:
        yield
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}") from error
    except Corrupt as corrupt:
        raise BuildError(f"{path} is not {what} that can be read: {corrupt}") from None


def stored_inode(
    number: int,
    st_mode: int,
    uid: int,
    gid: int,
    mtime: int,
    xattrs: Mapping[bytes, bytes],
    *,
    content: Callable[[], Content],
    target: Callable[[], bytes],
    device: Callable[[], tuple[int, int]],
) -> Inode:
    """The inode that `st_mode` (file type and mode) tells of; asks only for what its type has. `mtime`: ns.

    Raises Corrupt, with `number`, for an unknown type.
    """
    common = st_mode & 0o7777, uid, gid, mtime, xattrs
    kind = S_IFMT(st_mode)
    if kind == S_IFREG:
        return File(content(), *common)
    if kind == S_IFDIR:
        return Directory(*common)
    if kind == S_IFLNK:
        return Symlink(target(), *common)
    if kind in (S_IFCHR, S_IFBLK):
        major, minor = device()
        return (CharDevice if kind == S_IFCHR else BlockDevice)(major, minor, *common)
    if kind in (S_IFIFO, S_IFSOCK):
        return (Fifo if kind == S_IFIFO else Socket)(*common)
    raise Corrupt(f"inode {number} is of the unknown type {kind:#o}")


def add_piece(pieces: list[Piece], offset: int, source: Source, start: int, length: int) -> None:
    """Appends a piece, or lengthens the last one where it goes on: a file of many extents in a row has few pieces."""
    last = pieces[-1] if pieces else None
    if (
        last is not None
        and last.source is source
        and last.offset + last.length == offset
        and last.start + last.length == start
    ):
        last.length += length
    else:
        pieces.append(Piece(offset, source, start, length))
