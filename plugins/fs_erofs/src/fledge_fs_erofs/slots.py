"""Where inodes stand, with what follows them: none that fits into a block crosses its end.

The kernel refuses inline data that do.
"""

from __future__ import annotations

from fledge_fs_erofs.format import BLOCK, SLOT

_PER_BLOCK = BLOCK // SLOT


class Slots:
    """Hands out the places of records, each in the fullest block that has room for it, or in new ones."""

    def __init__(self) -> None:
        self.blocks = 0
        """How many blocks are begun."""
        self._open: list[list[int]] = [[] for _ in range(_PER_BLOCK)]
        """The blocks that have so many slots free at their end, by that number."""
        self._some_open = 0
        """A bit for each list of `_open` that is not empty: finding the fullest takes no search."""
        self.take(SLOT)  # Slot 0: readers of directories take inode number 0 for an entry that was removed.

    def take(self, size: int) -> int:
        """The slot where `size` bytes (at least one) go."""
        count = -(-size // SLOT)
        fitting = self._some_open >> count
        if fitting:
            free = count + (fitting & -fitting).bit_length() - 1
            blocks = self._open[free]
            block = blocks.pop()
            if not blocks:
                self._some_open ^= 1 << free
            start = (block + 1) * _PER_BLOCK - free
        else:
            start = self.blocks * _PER_BLOCK
            self.blocks += -(-count // _PER_BLOCK)
        left = -(start + count) % _PER_BLOCK
        if left:
            self._open[left].append((start + count) // _PER_BLOCK)
            self._some_open |= 1 << left
        return start

    def close(self) -> None:
        """Leaves something behind the last record: fsck.erofs 1.5 reads an xattr header behind inodes that have none."""
        if not any(self.blocks - 1 in blocks for blocks in self._open):
            self.blocks += 1
