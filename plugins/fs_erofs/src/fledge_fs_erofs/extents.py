"""The extents of a compressed file as it is read, whoever wrote its index, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from fledge.reading import Corrupt

from fledge_fs_erofs import compact
from fledge_fs_erofs import format as fs
from fledge_fs_erofs.image import Image, RawInode
from fledge_fs_erofs.lclusters import Lcluster, decode

_KNOWN_ADVISE = fs.ADVISE_COMPACTED_2B | fs.ADVISE_BIG_PCLUSTER | fs.ADVISE_BIG_PCLUSTER_2 | fs.ADVISE_INLINE_PCLUSTER


class Extent(NamedTuple):
    """Bytes of a file, from `start` to where the next extent starts, and where in the image they are stored."""

    start: int
    offset: int
    length: int
    """As stored."""
    plain: bool


def extents(image: Image, inode: RawInode) -> list[Extent]:
    """All extents of a file that is compressed and not empty, in order; the first one starts at 0. Raises Corrupt."""
    start = -(-inode.behind // fs.INDEX_ALIGN) * fs.INDEX_ALIGN
    inline, advise, algorithms, cluster_bits = fs.MAP_HEADER.unpack(image.read(start, fs.MAP_HEADER.size))
    if advise & ~_KNOWN_ADVISE or algorithms & 0xF != fs.ALGORITHM_LZ4 or cluster_bits:
        raise Corrupt(f"inode {inode.nid} is compressed in a way that is not supported")
    start += fs.MAP_HEADER.size
    if inode.layout == fs.COMPRESSED_FULL:
        start += fs.FULL_INDEX_PADDING
        end = start + inode.blocks * fs.LCLUSTER_HEAD.size
        lclusters = decode(image.read(start, end - start))
    else:
        packs = compact.packs(start, inode.blocks, bool(advise & fs.ADVISE_COMPACTED_2B))
        end = start + sum(pack.size * times for pack, times in packs)
        lclusters = compact.decode(image.read(start, end - start), packs, bool(advise & fs.ADVISE_BIG_PCLUSTER))
    found = list(_heads(inode, lclusters))
    if not found or found[0].start:
        raise Corrupt(f"compressed inode {inode.nid} does not begin with an extent")
    if advise & fs.ADVISE_INLINE_PCLUSTER:
        image.check(end, inline)
        found[-1] = found[-1]._replace(offset=end, length=inline)
    return found


def _heads(inode: RawInode, lclusters: Iterable[Lcluster]) -> Iterator[Extent]:
    head: Extent | None = None
    for number, (kind, inside, block) in enumerate(islice(lclusters, inode.blocks)):
        start = number * fs.BLOCK + inside
        if kind == fs.NONHEAD:
            if head is not None and inside and not head.plain:
                head = head._replace(length=inside << fs.BLOCK_BITS)
            continue
        if kind not in (fs.PLAIN, fs.HEAD) or inside >= fs.BLOCK:
            raise Corrupt(f"inode {inode.nid} is compressed in a way that is not supported")
        if head is not None:
            yield head
        head = Extent(start, block << fs.BLOCK_BITS, fs.BLOCK, kind == fs.PLAIN)
    # Where the last extent ends inside an lcluster, a head without data says so.
    if head is not None and head.start < inode.size:
        yield head
