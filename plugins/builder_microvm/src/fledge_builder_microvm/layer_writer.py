"""Changes to a layer: a tar in the store that is the same for the same changes, bytes and all.

Entries are sorted by path, and nothing but what an inode has goes into them. POSIX.1-2001 pax: a ustar header, and
before it an extended one for what that can't hold. Whiteouts as image-spec layer.md has them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from zlib import adler32

from fledge.errors import BuildError
from fledge.store import Store
from fledge.tree.ahead import Ahead
from fledge.tree.content import Content, FileSource, Piece
from fledge.tree.inode import BlockDevice, CharDevice, Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.layer import INDEX, TAR, Layer, find_layer
from fledge.tree.merge import OPAQUE, WHITEOUT
from fledge.tree.tar import TarReader
from fledge.tree.tar_format import BLOCK, USTAR_MAGIC
from fledge.values import Digest, show_path

from fledge_builder_microvm.changes import Change, Opaque, Put, Remove

_END: Final = bytes(2 * BLOCK)
_NAME: Final = 100
"""Bytes of a header's name and linkname."""
_MAX_OCTAL_ID: Final = 0o7777777
_MAX_OCTAL_SIZE: Final = 0o77777777777
_TYPES: Final = {File: b"0", Symlink: b"2", CharDevice: b"3", BlockDevice: b"4", Directory: b"5", Fifo: b"6"}
_HARD_LINK: Final = b"1"
_EXTENDED: Final = b"x"
_FLUSH: Final = 1 << 20


def write_layer(store: Store, changes: Iterable[Change], latest: int | None = None) -> Layer:
    """The layer that makes `changes`, in the store. `latest`: the mtime (ns) that later ones are set to; None: no limit.

    Raises BuildError for what no layer can hold, such as a name that begins with `.wh.`, and when the store can't be
    written.
    """
    digest = hashlib.sha256()
    size = 0
    with store.part("layer") as part, Ahead(_gathered(_tar(_entries(changes), latest))) as blocks:
        for block in blocks:
            digest.update(block)
            try:
                part.write(block)
            except OSError as error:
                raise BuildError(
                    f"can't write to the cache folder {store.folder}: {error.strerror}",
                    hint="free some space, or set FLEDGE_CACHE_DIR to a folder elsewhere",
                ) from error
            size += len(block)
        diff_id = Digest("sha256", digest.hexdigest())
        known = find_layer(store, diff_id)
        if known is not None:
            return known
        place = ("layers", diff_id.algorithm, diff_id.hex)
        source = FileSource(store.keep(part, *place, TAR))
    reader = TarReader(f"layer {diff_id}")
    at = 0
    while at < size:
        count = min(size - at, 1 << 16)
        reader.feed(bytes(source.view(at, count)))
        at = reader.skip_data(size)
    index = reader.finish()
    store.put(index.dump(diff_id, size), *place, INDEX)
    return Layer(diff_id, source, index)


def _entries(changes: Iterable[Change]) -> list[tuple[bytes, Inode | None]]:
    """What goes into the tar by path; None is a whiteout, whose path is the marker's."""
    entries: dict[bytes, Inode | None] = {}
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
            entries[parent + slash + WHITEOUT + name] = None
        else:
            assert isinstance(change, Opaque)
            entries[change.path + b"/" + OPAQUE if change.path else OPAQUE] = None
    return sorted(entries.items())


def _tar(entries: Sequence[tuple[bytes, Inode | None]], latest: int | None) -> Iterator[bytes | memoryview]:
    names: dict[int, bytes] = {}
    for path, inode in entries:
        if inode is None:
            yield _header(path, b"0", 0, 0, 0, 0, 0)
            continue
        mtime = inode.mtime if latest is None else min(inode.mtime, latest)
        first = names.setdefault(id(inode), path)
        if first != path and not isinstance(inode, Directory):
            yield from _member(path, _HARD_LINK, inode, mtime, link=first)
        elif isinstance(inode, File) and inode.content.is_sparse:
            yield from _sparse(path, inode, mtime)
        elif isinstance(inode, File):
            yield from _member(path, b"0", inode, mtime, size=inode.content.size)
            yield from inode.content.chunks()
            yield bytes(-inode.content.size % BLOCK)
        else:
            link = inode.target if isinstance(inode, Symlink) else b""
            name = path + b"/" if isinstance(inode, Directory) else path
            yield from _member(name or b"./", _TYPES[type(inode)], inode, mtime, link=link)
    yield _END


def _sparse(path: bytes, inode: File, mtime: int) -> Iterator[bytes | memoryview]:
    """GNU's sparse format 1.0 in pax: the map of what is there stands before it, in decimal lines."""
    content = inode.content
    runs = _runs(content)
    if not runs or sum(runs[-1]) != content.size:
        runs.append((content.size, 0))  # As GNU tar does, which goes by the map for how long the file is.
    chart = b"%d\n" % len(runs) + b"".join(b"%d\n%d\n" % run for run in runs)
    chart += bytes(-len(chart) % BLOCK)
    size = len(chart) + sum(length for _, length in runs)
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": path,
        b"GNU.sparse.realsize": b"%d" % content.size,
    }
    yield from _member(path, b"0", inode, mtime, size=size, records=records)
    yield chart
    pieces = deque(piece for piece in content.pieces if piece.length)
    for start, length in runs:
        at = start
        while pieces and pieces[0].offset < start + length:
            piece = pieces.popleft()
            yield bytes(piece.offset - at)
            yield from Content(piece.length, [Piece(0, piece.source, piece.start, piece.length)]).chunks()
            at = piece.offset + piece.length
        yield bytes(start + length - at)
    yield bytes(-size % BLOCK)


def _runs(content: Content) -> list[tuple[int, int]]:
    """(offset, length) of what is no hole, in whole blocks: of others, readers differ in where the next one begins."""
    runs: list[tuple[int, int]] = []
    for piece in content.pieces:
        if not piece.length:
            continue
        start = piece.offset // BLOCK * BLOCK
        end = min(content.size, piece.offset + piece.length + -(piece.offset + piece.length) % BLOCK)
        if runs and start <= sum(runs[-1]):
            start, _ = runs.pop()
        runs.append((start, end - start))
    return runs


def _member(
    path: bytes,
    flag: bytes,
    inode: Inode,
    mtime: int,
    *,
    size: int = 0,
    link: bytes = b"",
    records: Mapping[bytes, bytes] | None = None,
) -> Iterator[bytes]:
    """The member's header, and before it an extended one where that is needed."""
    extended = dict(records or {})
    if len(path) > _NAME and b"GNU.sparse.name" not in extended:
        extended[b"path"] = path
    if len(link) > _NAME:
        extended[b"linkpath"] = link
    if inode.uid > _MAX_OCTAL_ID:
        extended[b"uid"] = b"%d" % inode.uid
    if inode.gid > _MAX_OCTAL_ID:
        extended[b"gid"] = b"%d" % inode.gid
    if size > _MAX_OCTAL_SIZE:
        extended[b"size"] = b"%d" % size
    seconds, nanoseconds = divmod(mtime, 10**9)
    if nanoseconds or not 0 <= seconds <= _MAX_OCTAL_SIZE:
        extended[b"mtime"] = _decimal(mtime)
    if flag != _HARD_LINK:
        for name, value in inode.xattrs.items():
            if b"=" in name:  # What ends a record's key (pax, "Extended Header"); readers have no escape in common.
                raise BuildError(
                    f"{show_path(path.rstrip(b'/'))}: the extended attribute {show_path(name)[1:]} has a = in its name,"
                    " which no layer can hold"
                )
            extended[b"SCHILY.xattr." + name] = value
    if extended:
        body = b"".join(_record(key, value) for key, value in sorted(extended.items()))
        yield _header(b"PaxHeaders/" + path[-80:], _EXTENDED, 0o644, 0, 0, len(body), 0)
        yield body + bytes(-len(body) % BLOCK)
    number = (inode.major, inode.minor) if isinstance(inode, Device) else (0, 0)
    mode, owner = inode.mode, (min(inode.uid, _MAX_OCTAL_ID), min(inode.gid, _MAX_OCTAL_ID))
    moment = min(max(seconds, 0), _MAX_OCTAL_SIZE)
    yield _header(path[:_NAME], flag, mode, *owner, min(size, _MAX_OCTAL_SIZE), moment, link[:_NAME], number)


def _decimal(nanoseconds: int) -> bytes:
    """Seconds with as many digits after the point as are needed."""
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return sign + (b"%d.%09d" % (seconds, rest)).rstrip(b"0").rstrip(b".")


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    if len(b"%d" % length) + rest != length:
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _header(
    name: bytes,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    block = bytearray(
        b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b00%b%07o\0%07o\0"
        % (
            name.ljust(_NAME, b"\0"), mode, uid, gid, size, mtime, flag, link.ljust(_NAME, b"\0"), USTAR_MAGIC,
            bytes(64), *device,
        )
    ).ljust(BLOCK, b"\0")  # fmt: skip
    # The sum of the bytes: Adler-32's low half is 1 + the sum modulo 65521, which half a header can't reach.
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def _gathered(pieces: Iterator[bytes | memoryview]) -> Iterator[bytes]:
    """Pieces together: most of a layer's are headers and little files."""
    waiting: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _FLUSH:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
