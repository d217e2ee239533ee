"""The index of a compressed file as it is read: both forms that mkfs.erofs writes, whatever an extent begins with.

See fs/erofs/zmap.c. Raises Corrupt where it is broken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.corrupt import Corrupt
from fledge_fs_erofs.image import Image, RawInode

_KNOWN_ADVISE = fs.ADVISE_COMPACTED_2B | fs.ADVISE_BIG_PCLUSTER | fs.ADVISE_BIG_PCLUSTER_2 | fs.ADVISE_INLINE_PCLUSTER


class Extent(NamedTuple):
    """Bytes of a file, from `start` to where the next extent starts, and where in the image they are stored."""

    start: int
    offset: int
    length: int
    """As stored."""
    plain: bool


class _Lcluster(NamedTuple):
    kind: int
    inside: int
    """Where in it an extent begins; of NONHEAD, how many blocks the pcluster has, 0 if it does not say so."""
    block: int


def extents(image: Image, inode: RawInode) -> list[Extent]:
    """All extents of a file that is compressed and not empty, in order; the first one starts at 0."""
    start = -(-inode.behind // fs.INDEX_ALIGN) * fs.INDEX_ALIGN
    inline, advise, algorithms, cluster_bits = fs.MAP_HEADER.unpack(image.read(start, fs.MAP_HEADER.size))
    if advise & ~_KNOWN_ADVISE or algorithms & 0xF != fs.ALGORITHM_LZ4 or cluster_bits:
        raise Corrupt(f"inode {inode.nid} is compressed in a way that is not supported")
    start += fs.MAP_HEADER.size
    if inode.layout == fs.COMPRESSED_FULL:
        start += fs.FULL_INDEX_PADDING
        end = start + inode.blocks * fs.LCLUSTER_HEAD.size
        lclusters = _full(image.read(start, end - start))
    else:
        packs = _packs(start, inode.blocks, bool(advise & fs.ADVISE_COMPACTED_2B))
        end = sum(packs[-1][:2])
        lclusters = _compact(image, packs, bool(advise & fs.ADVISE_BIG_PCLUSTER))
    found = list(_heads(inode, lclusters))
    if not found or found[0].start:
        raise Corrupt(f"compressed inode {inode.nid} does not begin with an extent")
    if advise & fs.ADVISE_INLINE_PCLUSTER:
        image.check(end, inline)
        found[-1] = found[-1]._replace(offset=end, length=inline)
    return found


def _heads(inode: RawInode, lclusters: list[_Lcluster]) -> Iterator[Extent]:
    lclusters = lclusters[: inode.blocks]
    for number, (kind, inside, block) in enumerate(lclusters):
        if kind == fs.NONHEAD:
            continue
        if kind not in (fs.PLAIN, fs.HEAD) or inside >= fs.BLOCK:
            raise Corrupt(f"inode {inode.nid} is compressed in a way that is not supported")
        start = number * fs.BLOCK + inside
        if start >= inode.size:
            return  # Where the last extent ends inside an lcluster, a head without data says so.
        blocks = 1
        if kind == fs.HEAD and number + 1 < len(lclusters) and lclusters[number + 1].kind == fs.NONHEAD:
            blocks = lclusters[number + 1].inside or 1
        yield Extent(start, block << fs.BLOCK_BITS, blocks << fs.BLOCK_BITS, kind == fs.PLAIN)


def _full(index: bytes) -> list[_Lcluster]:
    found = []
    for kind, inside, block in fs.LCLUSTER_HEAD.iter_unpack(index):
        if kind & 3 == fs.NONHEAD:
            inside = _count(block & 0xFFFF)
        found.append(_Lcluster(kind & 3, inside, block))
    return found


def _packs(start: int, lclusters: int, two_bytes: bool) -> list[tuple[int, int, int]]:
    """The packs of a compact index: where each begins, its bytes, and how many lclusters it has.

    Those of 4 bytes an lcluster hold two; those of 2 bytes hold sixteen, and are aligned.
    """
    found = []
    first = -start % _LARGE_PACK // 4
    large = (lclusters - first) // 16 if two_bytes and first < lclusters else 0
    small = -(-(lclusters - large * 16) // 2)
    for number in range(small + large):
        is_large = first // 2 <= number < first // 2 + large
        size, count = (_LARGE_PACK, 16) if is_large else (_SMALL_PACK, 2)
        found.append((start, size, count))
        start += size
    return found


_SMALL_PACK = 8
_LARGE_PACK = 32


def _compact(image: Image, packs: list[tuple[int, int, int]], big: bool) -> list[_Lcluster]:
    found: list[_Lcluster] = []
    for start, size, count in packs:
        pack = image.read(start, size)
        bits = (size - 4) * 8 // count
        (block,) = struct.unpack_from("<I", pack, size - 4)
        fields = int.from_bytes(pack[:-4], "little")
        values = [fields >> bits * number for number in range(count)]
        kinds = [value >> 12 & 3 for value in values]
        # Without big pclusters, the address is that of the block before the first.
        block += not big
        for number, (value, kind) in enumerate(zip(values, kinds, strict=True)):
            low = value & 0xFFF
            if kind == fs.NONHEAD:
                blocks = _count(low)
                found.append(_Lcluster(kind, blocks, 0))
                block += blocks
                continue
            found.append(_Lcluster(kind, low, block))
            follows = number + 1 < count and kinds[number + 1] == fs.NONHEAD
            if not (big and follows):
                block += 1
    return found


def _count(distance: int) -> int:
    return distance & ~fs.BLOCK_COUNT if distance & fs.BLOCK_COUNT else 0
