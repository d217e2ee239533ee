"""Single structures: places of inodes, blocks of directories, chunks of sparse files."""

from __future__ import annotations

import pytest
from fledge.reading import Corrupt
from fledge.testing.trees import sparse
from fledge.tree.content import Content, MemorySource, Piece
from fledge_fs_erofs.chunks import ChunkedFile
from fledge_fs_erofs.contents import cut
from fledge_fs_erofs.directories import Listing, decode_block
from fledge_fs_erofs.format import DIRENT
from fledge_fs_erofs.slots import Slots
from hypothesis import given
from hypothesis import strategies as st

BLOCK = 4096
NO_BLOCK = 0xFFFFFFFF


@given(st.lists(st.one_of(st.integers(1, BLOCK), st.integers(1, 5 * BLOCK)), max_size=200))
def test_records_never_overlap_and_cross_a_block_only_if_they_must(sizes: list[int]) -> None:
    slots = Slots()
    taken = sorted((slots.take(size) * 32, size) for size in sizes)
    end = 32  # No inode has number 0.
    for start, size in taken:
        assert start >= end
        assert size > BLOCK or start // BLOCK == (start + size - 1) // BLOCK
        end = start + size
    assert end <= slots.blocks * BLOCK


def test_records_are_put_where_they_leave_the_least_room() -> None:
    slots = Slots()
    assert slots.take(3000) == 1
    assert slots.take(3500) == 128
    assert slots.take(500) == 128 + 110
    assert slots.take(500) == 1 + 94
    assert slots.blocks == 2


@given(st.sets(st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, 47}), max_size=300))
def test_what_a_directory_lists_is_read_back_in_order(names: set[bytes]) -> None:
    names |= {b".", b".."}
    entries = [(name, number) for number, name in enumerate(names)]
    listing = Listing(list(entries))
    nids, types = [7 * number for number in range(len(names))], [number % 7 + 1 for number in range(len(names))]
    blocks = [listing.block(index, nids, types) for index in range(listing.blocks)]
    assert all(len(block) <= BLOCK for block in blocks)
    assert listing.size == (len(blocks) - 1) * BLOCK + len(blocks[-1])
    found = [entry for block in blocks for entry in decode_block(block.ljust(BLOCK, b"\0"))]
    assert found == sorted((name, nids[number], types[number]) for name, number in entries)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"x" * 11,
        DIRENT.pack(1, 0, 1),
        DIRENT.pack(1, 13, 1) + b"name",
        DIRENT.pack(1, 12, 1),
        DIRENT.pack(1, 4096, 1) + b"name",
        DIRENT.pack(1, 24, 1) + DIRENT.pack(1, 24, 1) + b"name",
        DIRENT.pack(1, 24, 1) + DIRENT.pack(1, 20, 1) + b"name",
        DIRENT.pack(1, 24, 1) + DIRENT.pack(1, 40, 1) + b"name",
    ],
)
def test_broken_blocks_of_directories(block: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_block(block)


@pytest.mark.parametrize(
    ("content", "bits", "addresses"),
    [
        (sparse(10 * BLOCK), 4, [NO_BLOCK]),
        (sparse(10 * BLOCK, (0, b"x")), 0, [9] + [NO_BLOCK] * 9),
        (sparse(10 * BLOCK, (9 * BLOCK, b"x")), 0, [NO_BLOCK] * 9 + [9]),
        (sparse(16 * BLOCK, (8 * BLOCK, b"x" * 4 * BLOCK)), 2, [NO_BLOCK, NO_BLOCK, 9, NO_BLOCK]),
        (sparse(15 * BLOCK, (8 * BLOCK - 1, b"xy"), (11 * BLOCK, b"x" * 4 * BLOCK)), 0, None),
        (sparse(15 * BLOCK + 1, (8 * BLOCK, b"x" * (7 * BLOCK + 1))), 3, [NO_BLOCK, 9]),
        (sparse(3 * BLOCK, (5, b"x"), (BLOCK + 7, b"x"), (3 * BLOCK - 1, b"x")), 2, [9]),
        (sparse(1 << 32, (BLOCK, b"x")), 5, None),
        (sparse(1 << 43, (BLOCK, b"x")), 11, None),
        (sparse((1 << 43) + 1), 31, [NO_BLOCK, NO_BLOCK]),
        (sparse((1 << 63) - 1, (0, b"x")), 31, None),
    ],
)
def test_chunks_are_as_large_as_makes_the_image_small(content: Content, bits: int, addresses: list[int] | None) -> None:
    chunked = ChunkedFile(content, 9)
    assert chunked.bits == bits
    index = chunked.index()
    assert len(index) == chunked.index_size <= 4 << 20
    found = [int.from_bytes(index[at : at + 4], "little") for at in range(0, len(index), 4)]
    assert addresses is None or found == addresses
    for offset, source, start, length in chunked.copies():
        for done in (0, length - 1):
            block, inside = divmod(offset + done, BLOCK)
            assert 9 <= block < chunked.end
            (logical,) = (
                (chunk << bits) + block - first
                for chunk, first in enumerate(found)
                if first != NO_BLOCK and first <= block < first + (1 << bits)
            )
            assert any(
                piece.source is source and piece.start + logical * BLOCK + inside - piece.offset == start + done
                for piece in content.pieces
            )


@given(st.lists(st.integers(0, 9), max_size=8), st.data())
def test_a_content_is_cut_to_its_bytes(lengths: list[int], draw: st.DataObject) -> None:
    data = bytes(range(sum(lengths)))
    pieces, at = [], 0
    for length in lengths:
        pieces.append(Piece(at, MemorySource(b"??" + data[at : at + length]), 2, length))
        at += length
    start = draw.draw(st.integers(0, at))
    end = draw.draw(st.integers(start, at))
    found = cut(Content(at, pieces), start, end)
    assert b"".join(piece.source.view(piece.start, piece.length) for piece in found) == data[start:end]
    assert not found or found[0].offset == start
