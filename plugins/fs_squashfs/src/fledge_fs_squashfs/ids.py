"""The id table: owners and groups, which inodes name by a 16-bit index."""

from __future__ import annotations

from array import array

from fledge.errors import BuildError

from fledge_fs_squashfs.format import MAX_IDS, little_endian


class IdTable(dict[int, int]):
    """Uid or gid to its index, in the order in which they are first asked for."""

    def __missing__(self, number: int) -> int:
        if len(self) == MAX_IDS:
            raise BuildError(
                f"the tree has more than {MAX_IDS} different uids and gids (one more is {number}); "
                f"squashfs holds at most {MAX_IDS}"
            )
        index = self[number] = len(self)
        return index

    def encode(self) -> bytes:
        """The table, before compression."""
        return little_endian(array("I", self)).tobytes()
