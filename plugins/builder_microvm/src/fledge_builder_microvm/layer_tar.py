"""The tar of a layer, and the index of what stands where in it.

Entries are sorted by path, and nothing but what an inode has goes into them. Whiteouts as image-spec layer.md has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Final

from fledge.errors import BuildError
from fledge.tree import index as ix
from fledge.tree import sparse
from fledge.tree.content import EMPTY, Content, FileSource, Piece, Views
from fledge.tree.inode import NO_XATTRS, BlockDevice, CharDevice, Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.merge import OPAQUE
from fledge.tree.tar_format import BLOCK, padded
from fledge.tree.tar_names import WHITEOUT
from fledge.values import PATH_MAX, show_path

from fledge_builder_microvm.changes import Change, Opaque, Put, Remove
from fledge_builder_microvm.context_file import ContextFile
from fledge_builder_microvm.tar_member import HARD_LINK, member

_END: Final = bytes(2 * BLOCK)
_CHUNK: Final = 1 << 20
_SECOND: Final = 10**9
_FILE: Final = b"0"
_OTHERS: Final[Mapping[type[Inode], tuple[int, bytes]]] = {
    Symlink: (ix.SYMLINK, b"2"),
    CharDevice: (ix.CHAR_DEVICE, b"3"),
    BlockDevice: (ix.BLOCK_DEVICE, b"4"),
    Directory: (ix.DIRECTORY, b"5"),
    Fifo: (ix.FIFO, b"6"),
}
"""What an inode is in the index, and its type flag."""


class LayerTar:
    """Makes one tar. Its index is what reading the tar would give."""

    def __init__(self) -> None:
        self._index = ix.IndexBuilder()
        self._waiting: list[bytes | memoryview] = []
        self._at = 0
        """Where in the tar the next byte goes."""
        self._flushed = 0
        """How many bytes do not wait any more."""
        self._views = Views()
        self._taken: list[tuple[ContextFile, int]] = []
        """Files of the build context, and where their bytes stand."""

    def blocks(self, changes: Iterable[Change]) -> Iterator[bytes]:
        """The tar that makes `changes`, about a MiB at a time.

        Raises BuildError for what no layer can hold, such as a name that begins with `.wh.`.
        """
        names: dict[int, bytes] = {}
        for path, inode in _entries(changes):
            first = names.setdefault(id(inode), path)
            if first != path and not isinstance(inode, Directory):
                self._link(path, inode, first)
            elif not isinstance(inode, File):
                self._other(path, inode)
            elif inode.content.is_sparse:
                yield from self._sparse(path, inode)
            else:
                yield from self._file(path, inode)
            if self._at - self._flushed >= _CHUNK:
                yield self._flush()
        self._put(_END)
        yield self._flush()

    def index(self) -> ix.LayerIndex:
        """What stands where, once all blocks were made."""
        return self._index.finish()

    def settle(self, tar: FileSource) -> None:
        """Files of the build context are read from `tar`, the finished one, should they be needed again."""
        for file, start in self._taken:
            file.settle(tar, start)

    def _put(self, data: bytes | memoryview) -> None:
        self._waiting.append(data)
        self._at += len(data)

    def _flush(self) -> bytes:
        block = b"".join(self._waiting)
        self._waiting, self._flushed = [], self._at
        self._views.release()
        return block

    def _record(self, inode: Inode, kind: int, size: int = 0, start: int = 0, extra: int = 0) -> bytes:
        seconds, nanoseconds = divmod(inode.mtime, _SECOND)
        return ix.pack_record(kind, inode.mode, inode.uid, inode.gid, seconds, nanoseconds, size, start, extra)

    def _extra(self, inode: Inode, extents: ix.Extents | None = None) -> int:
        if inode.xattrs is NO_XATTRS and extents is None:
            return 0
        return self._index.add_extra(dict(sorted(inode.xattrs.items())), extents)

    def _link(self, path: bytes, inode: Inode, first: bytes) -> None:
        self._put(member(path, HARD_LINK, inode, link=first))
        self._index.add_link(path, first, self._record(inode, ix.HARD_LINK))

    def _other(self, path: bytes, inode: Inode) -> None:
        kind, flag = _OTHERS[type(inode)]
        link = inode.target if isinstance(inode, Symlink) else b""
        name = path + b"/" if isinstance(inode, Directory) else path
        self._put(member(name or b"./", flag, inode, link=link))
        number = inode.major << ix.MINOR_BITS | inode.minor if isinstance(inode, Device) else 0
        record = self._record(inode, kind, start=number, extra=self._extra(inode))
        if isinstance(inode, Symlink):
            self._index.add_link(path, link, record)
        else:
            self._index.add(path, record)

    def _file(self, path: bytes, inode: File) -> Iterator[bytes]:
        content = inode.content
        self._put(member(path, _FILE, inode, size=content.size))
        self._index.add(path, self._record(inode, ix.FILE, content.size, self._at, self._extra(inode)))
        for piece in content.pieces:
            if isinstance(piece.source, ContextFile):
                self._taken.append((piece.source, self._at))
            yield from self._data(piece)
        self._put(bytes(padded(content.size) - content.size))

    def _data(self, piece: Piece) -> Iterator[bytes]:
        for done in range(0, piece.length, _CHUNK):
            self._put(self._views.view(piece.source, piece.start + done, min(_CHUNK, piece.length - done)))
            if self._at - self._flushed >= _CHUNK:
                yield self._flush()

    def _sparse(self, path: bytes, inode: File) -> Iterator[bytes]:
        """GNU's sparse format 1.0 in pax: the map of what is there stands before it, in decimal lines."""
        content = inode.content
        runs = _runs(content)
        if not runs or sum(runs[-1]) != content.size:
            runs.append((content.size, 0))  # As GNU tar does, which goes by the map for how long the file is.
        if len(runs) > sparse.MAX_EXTENTS:
            raise BuildError(
                f"{show_path(path)}: a sparse file of {len(runs)} extents; a layer's can have {sparse.MAX_EXTENTS}"
            )
        chart = b"%d\n" % len(runs) + b"".join(b"%d\n%d\n" % run for run in runs)
        chart += bytes(padded(len(chart)) - len(chart))
        stored = sum(length for _, length in runs)
        records = {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": path,
            b"GNU.sparse.realsize": b"%d" % content.size,
        }
        size = len(chart) + stored
        self._put(member(path, _FILE, inode, size=size, records=records))
        self._put(chart)
        extra = self._extra(inode, sparse.place(runs, content.size, stored, self._at))
        self._index.add(path, self._record(inode, ix.FILE, content.size, self._at, extra))
        pieces = deque(piece for piece in content.pieces if piece.length)
        for start, length in runs:
            at = start
            while pieces and pieces[0].offset < start + length:
                piece = pieces.popleft()
                self._put(bytes(piece.offset - at))
                yield from self._data(piece)
                at = piece.offset + piece.length
            self._put(bytes(start + length - at))
        self._put(bytes(padded(size) - size))


def _entries(changes: Iterable[Change]) -> list[tuple[bytes, Inode]]:
    """What goes into the tar by path; a whiteout is an empty file of its own."""
    entries: dict[bytes, Inode] = {}
    for change in changes:
        if isinstance(change, Put):
            name = change.path.rpartition(b"/")[2]
            if name.startswith(WHITEOUT):
                raise BuildError(f"{show_path(change.path)}: a name in an image can't begin with .wh.")
            if isinstance(change.inode, Socket):
                raise BuildError(f"{show_path(change.path)} is a socket, which no layer can hold")
            entries[change.path] = change.inode
        elif isinstance(change, Remove):
            parent, slash, name = change.path.rpartition(b"/")
            entries[parent + slash + WHITEOUT + name] = File(EMPTY, 0)
        else:
            assert isinstance(change, Opaque)
            entries[change.path + b"/" + OPAQUE if change.path else OPAQUE] = File(EMPTY, 0)
    longest = max(entries, key=len, default=b"")
    if len(longest) >= PATH_MAX:
        raise BuildError(f"{show_path(longest)}: the path has {len(longest)} bytes; Linux allows {PATH_MAX - 1}")
    return sorted(entries.items(), key=itemgetter(0))


def _runs(content: Content) -> list[tuple[int, int]]:
    """(offset, length) of what is no hole, in whole blocks: of others, readers differ in where the next one begins."""
    runs: list[tuple[int, int]] = []
    for piece in content.pieces:
        if not piece.length:
            continue
        start = piece.offset // BLOCK * BLOCK
        end = min(content.size, padded(piece.offset + piece.length))
        if runs and start <= sum(runs[-1]):
            start, _ = runs.pop()
        runs.append((start, end - start))
    return runs
