"""The data section: every distinct content once, as blocks of its own or as a part of a fragment block."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Final, Protocol

from fledge.progress import Stage
from fledge.tree.content import Content
from fledge.workers import ordered

from fledge_fs_squashfs.appender import Appender
from fledge_fs_squashfs.compress import Codec
from fledge_fs_squashfs.fingerprint import RECORD, fingerprints
from fledge_fs_squashfs.format import DATA_RAW, FRAGMENT, INVALID_32
from fledge_fs_squashfs.parts import ContentReader

_WINDOW_PER_JOB: Final = 6
_NO_BLOCKS: Final = array("I")


class StoredFile:
    """Where a content stands. `sizes`: of its blocks after compression, with DATA_RAW; 0 is a block of zeros."""

    __slots__ = ("fragment", "offset", "sizes", "sparse", "start")

    def __init__(self) -> None:
        self.start = 0
        self.sizes = _NO_BLOCKS
        self.fragment = INVALID_32
        self.offset = 0
        self.sparse = 0
        """Bytes in blocks of zeros."""


EMPTY_FILE: Final = StoredFile()


class Kept(Protocol):
    """Compressed blocks of builds before this one."""

    def get(self, key: bytes) -> memoryview | None:
        """What the block was compressed to; of length 0 when it does not compress. None: not known."""

    def put(self, key: bytes, compressed: bytes) -> None:
        """Keeps it for the next build."""


class _Block:
    """One block to be written: `parts` (content, start, length) under one key."""

    __slots__ = ("index", "key", "length", "parts", "stored")

    def __init__(self, key: bytes, length: int, parts: Sequence[tuple[Content, int, int]]) -> None:
        self.key = key
        self.length = length
        self.parts = parts
        self.stored: StoredFile | None = None
        """Whose block it is; None: a fragment block."""
        self.index = 0


class DataSection:
    """Writes the data section and knows then where everything is."""

    def __init__(self, pool: Executor, jobs: int, codec: Codec, kept: Kept, block_size: int) -> None:
        self._pool = pool
        self._jobs = jobs
        self._codec = codec
        self._kept = kept
        self._block_size = block_size
        self._fragments: list[bytes] = []

    @property
    def fragment_table(self) -> list[bytes]:
        """The entries of the fragment table."""
        return self._fragments

    def write(self, contents: Sequence[Content], out: Appender, stage: Stage) -> list[StoredFile]:
        """Writes the contents and tells where each one stands; equal ones stand in the same place."""
        prints = fingerprints(self._pool, contents, self._block_size)
        places: dict[tuple[int, bytes], StoredFile] = {}
        new: list[tuple[Content, bytes, StoredFile]] = []
        result: list[StoredFile] = []
        duplicates = 0
        for content, key in zip(contents, prints, strict=True):
            size = content.size
            if not size:
                # The kernel refuses a file in a fragment block whose size is a multiple of the block size, 0 as well.
                result.append(EMPTY_FILE)
                continue
            stored = places.get((size, key))
            if stored is None:
                stored = places[size, key] = StoredFile()
                new.append((content, key, stored))
            else:
                duplicates += size
            result.append(stored)
        stage.advance(duplicates)
        window = self._jobs * _WINDOW_PER_JOB
        for block, (data, raw, fresh) in ordered(self._pool, self._compress, self._blocks(new), window):
            if fresh:
                self._kept.put(block.key, b"" if raw else bytes(data))
            size = len(data) | (DATA_RAW if raw else 0)
            start = out.append(data)
            stored_file = block.stored
            if stored_file is None:
                self._fragments.append(FRAGMENT.pack(start, size, 0))
            else:
                if not stored_file.start:
                    stored_file.start = start
                stored_file.sizes[block.index] = size
            stage.advance(block.length)
        return result

    def _compress(self, block: _Block) -> tuple[bytes | memoryview, bool, bool]:
        """The bytes to store, whether they are uncompressed, and whether the store did not know that."""
        kept = self._kept.get(block.key)
        if kept:
            return kept, False, False
        reader = ContentReader()
        parts = [reader.read(*part) for part in block.parts]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        compressed = self._codec.compress(data) if kept is None else None
        stored = bytes(data) if compressed is None else compressed
        reader.release()
        return stored, compressed is None, kept is None

    def _blocks(self, new: Sequence[tuple[Content, bytes, StoredFile]]) -> Iterator[_Block]:
        """All blocks in the order of the image. A fragment block comes as soon as it is full."""
        block_size = self._block_size
        fragment = _Fragment(block_size)
        number = 0
        for content, key, stored in new:
            size = content.size
            if size < block_size:
                if not fragment.fits(size):
                    yield fragment.block()
                    fragment = _Fragment(block_size)
                    number += 1
                stored.fragment = number
                stored.offset = fragment.size
                if fragment.add(content, key):
                    yield fragment.block()
                    fragment = _Fragment(block_size)
                    number += 1
                continue
            count = -(-size // block_size)
            stored.sizes = array("I", bytes(4 * count))
            stored.sparse = size
            for index, digest in RECORD.iter_unpack(key):
                start = index * block_size
                length = min(block_size, size - start)
                stored.sparse -= length
                block = _Block(digest, length, ((content, start, length),))
                block.stored = stored
                block.index = index
                yield block
        if fragment.size:
            yield fragment.block()


class _Fragment:
    """A fragment block that is being filled."""

    def __init__(self, block_size: int) -> None:
        self._limit = block_size
        self._parts: list[tuple[Content, int, int]] = []
        self._keys: list[bytes] = []
        self.size = 0

    def fits(self, size: int) -> bool:
        return self.size + size <= self._limit

    def add(self, content: Content, key: bytes) -> bool:
        """Whether the block ends here.

        The contents decide that, not only how full it is, so that blocks fall into step again behind a file that was
        added, changed or removed, and the next build finds them in the store.
        """
        self._parts.append((content, 0, content.size))
        self._keys.append(key)
        self.size += content.size
        return self.size >= self._limit * 3 // 4 and key[-1] % 8 == 0

    def block(self) -> _Block:
        # The digest of digests stands for the joined bytes, without reading them again. Its own domain: it must
        # not be mistaken for the digest of a block.
        digest = hashlib.sha256(b"fragment\0" + b"".join(self._keys)).digest()
        return _Block(digest, self.size, self._parts)
