"""Directories: sorted entries, in blocks that each hold the records first and then the names."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.reading import Corrupt

from fledge_fs_erofs.format import BLOCK, DIRENT


class Listing:
    """The entries of one directory, sorted by name and divided into blocks.

    The kernel searches by halves, first for the block and then in it, and compares names as unsigned bytes: `.` and
    `..` stand wherever they sort.
    """

    __slots__ = ("_ends", "_entries", "blocks", "size")

    def __init__(self, entries: list[tuple[bytes, int]]) -> None:
        """`entries`: names and numbers of inodes, with those of `.` and `..`."""
        entries.sort()
        self._entries = entries
        self._ends = [0]
        used = 0
        for index, (name, _) in enumerate(entries):
            needed = DIRENT.size + len(name)
            used += needed
            if used > BLOCK:
                self._ends.append(index)
                used = needed
        self.size = (len(self._ends) - 1) * BLOCK + used
        """Bytes; only the last block is shorter than BLOCK."""
        self.blocks = len(self._ends)
        self._ends.append(len(entries))

    def block(self, index: int, nids: Sequence[int], types: Sequence[int]) -> bytes:
        """A block without what pads it. `nids`, `types`: of every inode, by number."""
        entries = self._entries[self._ends[index] : self._ends[index + 1]]
        at = DIRENT.size * len(entries)
        parts = []
        for name, number in entries:
            parts.append(DIRENT.pack(nids[number], at, types[number]))
            at += len(name)
        parts += [name for name, _ in entries]
        return b"".join(parts)


def decode_block(block: bytes) -> list[tuple[bytes, int, int]]:
    """Name, nid and file type of each entry. Raises Corrupt."""
    end = DIRENT.unpack_from(block)[1] if len(block) >= DIRENT.size else 0
    if end < DIRENT.size or end % DIRENT.size or end > len(block):
        raise Corrupt(f"a directory has a block in which the names begin at {end}")
    records = list(DIRENT.iter_unpack(block[:end]))
    starts = [start for _, start, _ in records]
    found = []
    for (nid, start, kind), stop in zip(records, [*starts[1:], len(block)], strict=True):
        if not end <= start < stop <= len(block):
            raise Corrupt(f"a directory has a name at {start}, which ends at {stop}")
        found.append((block[start:stop].rstrip(b"\0"), nid, kind))
    return found
