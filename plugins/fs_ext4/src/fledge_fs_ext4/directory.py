"""The blocks of a directory: a list of entries while one block holds it, an indexed one (htree) beyond that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fledge_fs_ext4.checksum import extend, on_disk
from fledge_fs_ext4.dirhash import hash_names
from fledge_fs_ext4.format import (
    BLOCK,
    DIR_ROOM,
    DIRENT,
    DIRENT_TAIL,
    DIRENT_TAIL_TYPE,
    HASH_HALF_MD4,
    INDEX_COUNT,
    INDEX_ENTRY,
    INDEX_INFO,
    INDEX_NODE_HEAD,
    INDEX_NODE_LIMIT,
    INDEX_ROOT_HEAD,
    INDEX_ROOT_LIMIT,
    INDEX_TAIL,
)

Entry = tuple[bytes, int, int]
"""Name, inode number, file type."""

DIRECTORY_TYPE = 2
FILE_TYPES = {0o010000: 5, 0o020000: 3, 0o040000: DIRECTORY_TYPE, 0o060000: 4, 0o100000: 1, 0o120000: 7, 0o140000: 6}
"""S_IFMT's bits to what an entry says of the inode."""
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

MAX_INDEXED = INDEX_ROOT_LIMIT * INDEX_NODE_LIMIT
"""Blocks of entries that a root and one level of nodes reach; more would take the largedir feature."""


def record_size(name: bytes) -> int:
    """What an entry with this name takes (bytes)."""
    return (DIRENT.size + 3 + len(name)) & ~3


def list_entries(entries: Sequence[Entry], room: int = DIR_ROOM) -> bytes:
    """The entries as they stand in a block; the last one reaches to the end of the room."""
    parts: list[bytes] = []
    at = 0
    pack = DIRENT.pack
    for name, ino, kind in entries:
        length = len(name)
        size = (length + 11) & ~3
        at += size
        parts += (pack(ino, size, length, kind), name, _PADDING[length & 3])
    name, ino, kind = entries[-1]
    parts[-3] = pack(ino, room - at + record_size(name), len(name), kind)
    return b"".join(parts)


def seal_list(entries: bytes, seed: int) -> bytes:
    """The block of `entries` with its checksum. `seed`: the directory inode's."""
    body = entries.ljust(DIR_ROOM, b"\0")
    return body + DIRENT_TAIL.pack(0, DIRENT_TAIL.size, 0, DIRENT_TAIL_TYPE, on_disk(extend(seed, body)))


class Index:
    """An indexed directory: its entries by hash, in leaves as full as they get."""

    def __init__(self, ino: int, parent: int, entries: Sequence[Entry], hash_seed: bytes) -> None:
        """`entries`: without `.` and `..`. Raises OverflowError when they are more than an index of two levels holds."""
        self._ino = ino
        self._parent = parent
        hashed = sorted(zip(hash_names([name for name, _, _ in entries], hash_seed), entries, strict=True))
        self._leaves: list[tuple[int, list[Entry]]] = []
        room = 0
        last = -1
        for value, entry in hashed:
            size = record_size(entry[0])
            if size > room:
                # The low bit says that the block before has names of the same hash too.
                self._leaves.append((value | 1 if value == last else value, []))
                room = DIR_ROOM
            self._leaves[-1][1].append(entry)
            room -= size
            last = value
        if len(self._leaves) > MAX_INDEXED:
            raise OverflowError
        count = len(self._leaves)
        self._nodes = -(-count // INDEX_NODE_LIMIT) if count > INDEX_ROOT_LIMIT else 0
        self.blocks = 1 + self._nodes + count

    def seal(self, seed: int) -> Iterable[bytes]:
        """The blocks with their checksums: root, nodes, leaves. `seed`: the directory inode's."""
        first_leaf = 1 + self._nodes
        pointers = [(value, first_leaf + at) for at, (value, _) in enumerate(self._leaves)]
        nodes = [pointers[at : at + INDEX_NODE_LIMIT] for at in range(0, len(pointers), INDEX_NODE_LIMIT)]
        top = [(node[0][0], 1 + at) for at, node in enumerate(nodes)] if self._nodes else pointers
        root = (
            DIRENT.pack(self._ino, 12, 1, DIRECTORY_TYPE)
            + b".\0\0\0"
            + DIRENT.pack(self._parent, BLOCK - 12, 2, DIRECTORY_TYPE)
            + b"..\0\0"
            + INDEX_INFO.pack(0, HASH_HALF_MD4, INDEX_INFO.size, 1 if self._nodes else 0, 0)
        )
        yield _seal_index(root, top, INDEX_ROOT_LIMIT, seed)
        if self._nodes:
            for node in nodes:
                yield _seal_index(DIRENT.pack(0, BLOCK, 0, 0), node, INDEX_NODE_LIMIT, seed)
        for _, entries in self._leaves:
            yield seal_list(list_entries(entries), seed)


def _seal_index(head: bytes, pointers: Sequence[tuple[int, int]], limit: int, seed: int) -> bytes:
    assert len(head) in (INDEX_ROOT_HEAD, INDEX_NODE_HEAD)
    body = head + INDEX_COUNT.pack(limit, len(pointers), pointers[0][1])
    body += b"".join([INDEX_ENTRY.pack(*pointer) for pointer in pointers[1:]])
    checksum = on_disk(extend(extend(seed, body), INDEX_TAIL.pack(0, 0)))
    return body.ljust(len(head) + limit * INDEX_ENTRY.size, b"\0") + INDEX_TAIL.pack(0, checksum)
