"""File contents compressed with lz4: clusters of 128 KiB, each of which becomes a pcluster of as few blocks as it takes.

What does not get smaller is stored as it is. The last cluster of a file follows the inode where there is room, which
saves half a block a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final

import lz4.block  # type: ignore[import-untyped]
from fledge.output import ArtifactFile, Copy
from fledge.progress import Stage
from fledge.tree.content import Content, Views
from fledge.workers import ordered

from fledge_fs_erofs import format as fs
from fledge_fs_erofs.contents import EMPTY, FIRST_BLOCK, FileData, Stored, blocks_of, cut, place_sparse
from fledge_fs_erofs.lclusters import Index, index_size
from fledge_fs_erofs.stream import Stream

CLUSTER: Final = 128 << 10
"""Bytes that are compressed as one."""
_MAX_BLOCKS: Final = CLUSTER // fs.BLOCK
_BATCH: Final = 1 << 20
"""Bytes that are worth handing to a thread."""
_WINDOW_PER_JOB: Final = 4

_Cluster = tuple[Content, int, int]
"""A content, and from where to where."""


class Lz4Contents:
    """Contents that are compressed and written as they come, but for sparse ones."""

    def __init__(self, target: ArtifactFile, level: int, jobs: int) -> None:
        """`level`: 0 is lz4's fast mode, more is lz4hc. `jobs`: worker threads, which never change the bytes."""
        self._target = target
        self._options = {"mode": "high_compression", "compression": level} if level else {"mode": "default"}
        self._jobs = jobs
        self._out = Stream(target, FIRST_BLOCK << fs.BLOCK_BITS)
        self._copies: list[Copy] = []
        self.incompatible = (
            fs.INCOMPAT_LZ4_0PADDING
            | fs.INCOMPAT_COMPRESSION_CONFIGS
            | fs.INCOMPAT_CHUNKED_FILE
            | fs.INCOMPAT_ZTAILPACKING
        )
        self.compression = fs.LZ4_CONFIG.pack(fs.LZ4_CONFIG.size - 2, fs.LZ4_MAX_DISTANCE, _MAX_BLOCKS)

    @property
    def end(self) -> int:
        """See Contents."""
        return self._out.position >> fs.BLOCK_BITS

    def store(self, files: Sequence[FileData], stage: Stage) -> Iterator[Stored]:
        """See Contents."""
        pool = ThreadPoolExecutor(self._jobs, "fledge-erofs")
        try:
            batches = ordered(pool, self._compress, _batches(files), self._jobs * _WINDOW_PER_JOB)
            compressed = chain.from_iterable(found for _, found in batches)
            for file in files:
                if not file.content.size:
                    yield EMPTY
                elif file.sparse:
                    yield self._store_sparse(file)
                else:
                    yield self._store(file, compressed)
                stage.advance(file.content.size)
        finally:
            pool.shutdown(cancel_futures=True)
        self._out.flush()

    def finish(self, stage: Stage) -> None:
        """See Contents. What is left are the sparse files, which may be placed where no image can have them."""
        self._target.copy(self._copies)

    def _compress(self, clusters: Sequence[_Cluster]) -> list[bytes]:
        """Each cluster compressed; empty where it does not get smaller."""
        found = []
        used = Views()
        for content, start, end in clusters:
            views = [used.view(piece.source, piece.start, piece.length) for piece in cut(content, start, end)]
            data = views[0] if len(views) == 1 else b"".join(views)
            compressed = lz4.block.compress(data, store_size=False, **self._options)
            found.append(compressed if len(compressed) < end - start else b"")
        used.release()
        return found

    def _store(self, file: FileData, compressed: Iterator[bytes]) -> Stored:
        content, head, _ = file
        size, first = content.size, self.end
        index = Index()
        index_bytes = index_size(size, head)
        behind, rest = b"", 0
        for start, end in _clusters(size):
            length, data = end - start, next(compressed)
            following = index_bytes + len(data)
            if data and end == size and following < length and head + following <= fs.BLOCK:
                index.add_compressed(length, fs.NO_BLOCK, 1)
                behind = data
            elif data and blocks_of(len(data)) < blocks_of(length):
                index.add_compressed(length, self.end, blocks_of(len(data)))
                # What is not full has zeros in front: the kernel looks there for where the data begin.
                self._out.append(bytes(-len(data) % fs.BLOCK) + data)
            else:
                index.add_plain(length, self.end)
                room = fs.BLOCK - head - (index_bytes if index.compressed else 0)
                if end == size and size % fs.BLOCK <= room:
                    rest = size % fs.BLOCK
                for piece in cut(content, start, end - rest):
                    self._out.append_piece(piece)
                self._out.fill_block()
        blocks = self.end - first
        tail = cut(content, size - rest, size) if rest else ()
        if index.compressed:
            inline = len(behind) + rest
            return Stored(
                fs.COMPRESSED_FULL, blocks, index_bytes + inline, lambda: index.encode(head, inline) + behind, tail
            )
        return Stored(fs.FLAT_INLINE if rest else fs.FLAT_PLAIN, first if blocks else fs.NO_BLOCK, rest, tail=tail)

    def _store_sparse(self, file: FileData) -> Stored:
        stored, end, copies = place_sparse(file, self.end)
        self._copies += copies
        self._out.skip(end << fs.BLOCK_BITS)
        return stored


def _clusters(size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, CLUSTER):
        yield start, min(start + CLUSTER, size)


def _batches(files: Sequence[FileData]) -> Iterator[list[_Cluster]]:
    """The clusters of all files that are compressed, in portions that are worth handing to a thread."""
    batch: list[_Cluster] = []
    size = 0
    for content, _, sparse in files:
        if sparse:
            continue
        for start, end in _clusters(content.size):
            batch.append((content, start, end))
            size += end - start
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
