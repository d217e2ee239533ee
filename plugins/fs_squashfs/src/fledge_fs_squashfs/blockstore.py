"""Compressed blocks of builds before, in the store: compressing is nearly all the time that an image takes.

A pack holds the blocks that one build compressed: the bytes, then an index of fixed records, then a footer.

    packs/squashfs/<codec, level, library version>/<sha256 of the index>

A pack appears whole (the store renames it), and is never changed. One whose footer or index is damaged is removed, and
so is one with a block whose checksum is wrong; the block is compressed again. So whatever happens to the cache, the
image's bytes are the same. A new pack holds only what no other had.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final, Self

from fledge.atomic import PartFile
from fledge.errors import BuildError
from fledge.progress import Progress
from fledge.store import Store
from fledge.tree.content import FileSource
from isal import isal_zlib

_KIND: Final = "squashfs"
_RECORD: Final = Struct("<32sQII")
"""Key, offset in the pack, length, CRC32. Length 0: the block does not compress, so nothing is kept."""
_FOOTER: Final = Struct("<8sQQ32s")
"""Magic, offset of the index, records, sha256 of the index."""
_MAGIC: Final = b"fldgsqb1"
_BATCH: Final = 1 << 20

_NOTHING: Final = memoryview(b"")


class BlockStore:
    """The blocks that one codec identity made. `get` may be called from any thread, `put` from one."""

    def __init__(self, store: Store, identity: str, progress: Progress) -> None:
        self._store = store
        self._identity = identity
        self._progress = progress
        self._known: dict[bytes, tuple[_Pack, int]] = {}
        self._fresh: _NewPack | None = None
        self._broken = False
        for path in _packs(store.path("packs", _KIND, identity)):
            pack = _Pack.open(path)
            if pack is None:
                progress.debug(f"the pack {path} in the cache is damaged and is removed")
                _remove(path)
                continue
            for number, key in enumerate(pack.keys()):
                self._known[key] = pack, number

    def get(self, key: bytes) -> memoryview | None:
        """What the block was compressed to, empty when it does not compress; None when it is not known."""
        found = self._known.get(key)
        if found is None:
            return None
        pack, number = found
        return pack.read(number)

    def put(self, key: bytes, compressed: bytes) -> None:
        """Keeps a block for later builds. A cache that can't be written costs time, not the build."""
        if self._broken:
            return
        try:
            if self._fresh is None:
                self._fresh = _NewPack(self._store.part(_KIND))
            self._fresh.add(key, compressed)
        except (OSError, BuildError) as error:
            self._give_up(error)

    def commit(self) -> None:
        """Makes the new blocks known to later builds."""
        if self._fresh is None:
            return
        try:
            self._fresh.commit(self._store, self._identity)
            self._fresh = None
        except (OSError, BuildError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        self._progress.warning(f"compressed blocks are not kept for the next build: {error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fresh is not None:
            self._fresh.discard()


def _packs(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # Not there yet, or not a folder, or not ours to read: then nothing is known.
        return
    for name in names:
        yield folder / name


def _remove(path: Path) -> None:
    """Lets the next build keep anew what a damaged pack held. Who has it open keeps what he sees."""
    with suppress(OSError):
        path.unlink()


class _Pack:
    """A pack of a build before."""

    def __init__(self, path: Path, source: FileSource, index: bytes) -> None:
        self._path = path
        self._source = source
        self._index = index
        self._used = False
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> _Pack | None:
        """None when it is not whole."""
        try:
            source = FileSource(path)
        except OSError:
            return None
        body = source.size - _FOOTER.size
        if body < 0:
            return None
        magic, offset, count, digest = _FOOTER.unpack(source.view(body, _FOOTER.size))
        if magic != _MAGIC or offset + count * _RECORD.size != body:
            return None
        index = bytes(source.view(offset, count * _RECORD.size))
        return cls(path, source, index) if hashlib.sha256(index).digest() == digest else None

    def keys(self) -> list[bytes]:
        index, step = self._index, _RECORD.size
        return [index[at : at + 32] for at in range(0, len(index), step)]

    def read(self, number: int) -> memoryview | None:
        """The block's bytes; None when they are damaged."""
        _, offset, length, checksum = _RECORD.unpack_from(self._index, number * _RECORD.size)
        if not self._used:
            self._touch()
        if not length:
            return _NOTHING
        data = bytes(self._source.view(offset, length))
        self._source.release(offset, length)
        if len(data) == length and isal_zlib.crc32(data) == checksum:
            return memoryview(data)
        _remove(self._path)
        return None

    def _touch(self) -> None:
        """Packs are pruned by age, and this one is of use."""
        with self._lock:
            if not self._used:
                self._used = True
                with suppress(OSError):  # Pruned by hand, or another user's: it serves all the same.
                    os.utime(self._path)


class _NewPack:
    """A pack that grows."""

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._buffers: list[bytes] = []
        self._buffered = 0
        self._offset = 0
        self._index = bytearray()

    def add(self, key: bytes, compressed: bytes) -> None:
        self._index += _RECORD.pack(key, self._offset, len(compressed), isal_zlib.crc32(compressed))
        self._buffers.append(compressed)
        self._offset += len(compressed)
        self._buffered += len(compressed)
        if self._buffered >= _BATCH:
            self._flush()

    def commit(self, store: Store, identity: str) -> None:
        digest = hashlib.sha256(self._index)
        count = len(self._index) // _RECORD.size
        self._buffers += bytes(self._index), _FOOTER.pack(_MAGIC, self._offset, count, digest.digest())
        self._flush()
        store.keep(self._part, "packs", _KIND, identity, digest.hexdigest())

    def discard(self) -> None:
        self._part.discard()

    def _flush(self) -> None:
        data = memoryview(b"".join(self._buffers))
        while data:
            data = data[os.write(self._part.fd, data) :]
        self._buffers.clear()
        self._buffered = 0
