"""The compact index of a compressed file, which mkfs.erofs writes: 2 or 4 bytes for each lcluster instead of 8.

It consists of packs. A large one holds 16 lclusters and is aligned to its 32 bytes; small ones of 2 lclusters in 8 bytes
stand in front of the large ones and behind them. In a pack, each lcluster has 12 bits and its type, and behind them stands
the address of the first pcluster, which the others follow. See fs/erofs/zmap.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from fledge_fs_erofs.format import NONHEAD
from fledge_fs_erofs.lclusters import Lcluster, block_count


class Pack(NamedTuple):
    """A kind of pack. `size`: bytes."""

    size: int
    lclusters: int


_SMALL: Final = Pack(8, 2)
_LARGE: Final = Pack(32, 16)
_ADDRESS: Final = 4


def packs(start: int, lclusters: int, large: bool) -> list[tuple[Pack, int]]:
    """The packs of an index, with how many there are of each kind in turn.

    `start`: the offset of the index in the image. `large`: whether there are large packs at all.
    """
    if not large:
        return [(_SMALL, -(-lclusters // _SMALL.lclusters))]
    in_front = min(-start % _LARGE.size // _SMALL.size, -(-lclusters // _SMALL.lclusters))
    middle, rest = divmod(max(lclusters - in_front * _SMALL.lclusters, 0), _LARGE.lclusters)
    return [(_SMALL, in_front), (_LARGE, middle), (_SMALL, -(-rest // _SMALL.lclusters))]


def decode(index: bytes, kinds_of_packs: Sequence[tuple[Pack, int]], big: bool) -> Iterator[Lcluster]:
    """The lclusters, and perhaps one beyond the last. `big`: whether pclusters may have several blocks."""
    at = 0
    for pack, times in kinds_of_packs:
        for _ in range(times):
            yield from _decode_pack(index[at : at + pack.size], pack.lclusters, big)
            at += pack.size


def _decode_pack(data: bytes, count: int, big: bool) -> Iterator[Lcluster]:
    fields = int.from_bytes(data[:-_ADDRESS], "little")
    # Where a pcluster has one block, the address is that of the block before.
    block = int.from_bytes(data[-_ADDRESS:], "little") + (not big)
    bits = (len(data) - _ADDRESS) * 8 // count
    values = [fields >> bits * number & 0x3FFF for number in range(count)]
    kinds = [value >> 12 for value in values]
    for number, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        low = value & 0xFFF
        if kind == NONHEAD:
            blocks = block_count(low)
            yield Lcluster(kind, blocks, 0)
            block += blocks
        else:
            yield Lcluster(kind, low, block)
            tells_next = big and number + 1 < count and kinds[number + 1] == NONHEAD
            block += 0 if tells_next else 1
