"""The parts on their own: geometry, hash, extents, B+trees, directories, log."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from fledge.blocks import extents_of
from fledge.testing.oracles import need_tool, run
from fledge.tree.content import MemorySource
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree
from fledge_fs_xfs import bmap, log
from fledge_fs_xfs.btree import levels, split
from fledge_fs_xfs.dahash import hash_name, hash_names
from fledge_fs_xfs.datree import node_counts
from fledge_fs_xfs.directory import ONE_BLOCK, Shape, measure
from fledge_fs_xfs.format import MAX_EXTENT
from fledge_fs_xfs.geometry import HEAD, Geometry, plan
from hypothesis import example, given
from hypothesis import strategies as st

Pack = Callable[..., Path]


@given(
    inodes=st.one_of(st.integers(3, 5000), st.integers(3, 20_000_000)),
    content=st.integers(0, 25_000_000),
    free=st.one_of(st.integers(256, 80_000), st.integers(256, 3_000_000_000)),
)
def test_any_geometry_has_room_for_what_was_asked(inodes: int, content: int, free: int) -> None:
    shape = plan(inodes, content, free)
    assert shape.blocks == shape.groups * shape.group_blocks >= 76_800
    assert shape.groups >= 4
    assert shape.group_blocks < 1 << 28
    assert shape.log_start // shape.group_blocks == (shape.log_start + shape.log_blocks - 1) // shape.group_blocks
    chunks = sum(count for _, count in shape.chunks)
    assert chunks == -(-inodes // 64)
    fixed = shape.fixed()
    allocator = shape.allocator()
    if content:
        allocator.take(content)
    used = sorted([*fixed, *allocator.used()])
    assert all(start + count <= after for (start, count), (after, _) in pairwise(used))
    assert all(start // shape.group_blocks == (start + count - 1) // shape.group_blocks for start, count in used)
    assert sum(used[-1]) <= shape.blocks
    for group in range(shape.groups):
        first, end = group * shape.group_blocks, (group + 1) * shape.group_blocks
        in_group = sum(count for start, count in used if first <= start < end)
        assert shape.group_blocks - in_group >= shape.reserve(group)
    left = shape.blocks - sum(count for _, count in used)
    reserved = sum(map(shape.reserve, range(shape.groups))) + min(shape.blocks // 20, 8192)
    assert left - reserved >= free


def test_inodes_are_numbered_through_the_groups() -> None:
    shape = Geometry(4 * 1000, 1000, 4, 500, ((16, 2), (16, 0), (520, 1), (16, 0)))
    numbers = list(shape.inode_numbers())
    assert numbers[:2] == [128, 129]
    assert numbers[127] == 128 + 127
    assert numbers[128] == 2 << 13 | 520 << 3
    assert len(numbers) == 3 * 64
    assert shape.address(1999) == 1 << 10 | 999


def test_the_hash_is_the_kernels(pack: Pack) -> None:
    randomly = random.Random(1)
    names = [bytes(randomly.choices(b"abcdefXYZ0189._", k=k)) for k in range(1, 256)]
    commands = [word for name in names for word in ("-c", f"hash {name.decode()}")]
    done = run(need_tool("xfs_db", "xfsprogs"), *commands, pack(Tree(Directory(0o755))))
    assert [int(text, 16) for text in done.stdout.split()] == hash_names(names)


@given(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=40))
def test_the_hash_does_not_depend_on_who_else_is_in_the_batch(names: list[bytes]) -> None:
    assert hash_names(names) == [hash_name(name) for name in names]


def test_the_hash_of_more_names_than_a_batch() -> None:
    names = [b"%d" % i * (1 + i % 9) for i in range(3000)]
    assert hash_names(names) == [hash_name(name) for name in names]


def test_an_extent_has_2_million_blocks_at_most() -> None:
    assert list(extents_of(5, [(100, (1 << 22) + 1), (1 << 30, 3)], MAX_EXTENT)) == [
        (5, 100, (1 << 21) - 1),
        (5 + (1 << 21) - 1, 100 + (1 << 21) - 1, (1 << 21) - 1),
        (5 + (1 << 22) - 2, 100 + (1 << 22) - 2, 3),
        (5 + (1 << 22) + 1, 1 << 30, 3),
    ]


class Nowhere:
    """Blocks of metadata that nobody wants to see."""

    uuid = bytes(16)

    def take(self, count: int) -> list[int]:
        return list(range(count))

    def put(self, at: int, block: bytes) -> None:
        assert len(block) == 4096

    def address(self, block: int) -> int:
        return block


@given(
    st.lists(st.tuples(st.integers(1, 100_000), st.integers(1, 3000)), min_size=1, max_size=60),
    st.integers(1, 40),
    st.sampled_from([40, 56, 192, 336]),
)
@example([(1, 2800)], 10, 40)
def test_an_extent_tree_never_takes_more_blocks_than_were_set_aside(
    gaps: list[tuple[int, int]], left: int, room: int
) -> None:
    # From the last blocks of the second group on, behind which the log leaves little of the third.
    shape = plan(3, 0, 256)
    assert shape.group_blocks == 19_200
    allocator = shape.allocator()
    usable = 2 * shape.group_blocks - shape.reserve(0) - allocator.cursor - HEAD - shape.reserve(1)
    allocator.take(usable - left)
    runs, at = [], 0
    for gap, count in gaps:
        runs.append((at + gap, count))
        at += gap + count
    placed = [each for logical, count in runs for each in extents_of(logical, allocator.take(count), MAX_EXTENT)]
    fork = bmap.fork(placed, room, 5, Nowhere())  # type: ignore[arg-type]
    assert len(fork.root) <= room
    assert fork.extents == len(placed)
    assert fork.blocks - sum(count for _, _, count in placed) <= bmap.most_tree_blocks(runs, room)


@given(st.integers(0, 3_000_000), st.sampled_from([(251, 251, 3, 3), (251, 251, 21, 20), (252, 505, 252, 505)]))
def test_all_blocks_of_a_tree_are_half_full(records: int, limits: tuple[int, int, int, int]) -> None:
    in_leaf, in_node, root_records, root_pointers = limits
    counts = levels(records, *limits)
    most = in_leaf
    below = records
    for count in counts:
        sizes = [below // count, -(-below // count)]
        assert sizes[1] <= most
        assert count == 1 or sizes[0] >= most // 2
        below, most = count, in_node
    assert below <= (root_pointers if counts else root_records)


def test_records_are_split_evenly() -> None:
    assert split(range(10), 3) == [range(4), range(4, 7), range(7, 10)]
    assert split([], 1) == [[]]


@pytest.mark.parametrize(
    ("leaves", "counts"), [(1, []), (2, [1]), (504, [1]), (505, [2, 1]), (504 * 504 + 1, [505, 2, 1])]
)
def test_nodes_above_leaves(leaves: int, counts: list[int]) -> None:
    assert node_counts(leaves) == counts


@pytest.mark.parametrize(
    ("lengths", "shape"),
    [
        ([], ONE_BLOCK),
        ([255] * 14, ONE_BLOCK),
        ([255] * 15, Shape(2, 1, 0, 0)),
        ([4] * 501, Shape(2, 1, 0, 0)),
        ([4] * 502, Shape(2, 1, 0, 1)),
        ([4] * 503, Shape(3, 2, 1, 1)),
        ([255] * (2016 * 14), Shape(2016, 57, 1, 1)),
        ([255] * (2016 * 14 + 1), Shape(2017, 57, 1, 2)),
    ],
    ids=["empty", "full", "two-blocks", "one-leaf", "free-index", "node", "one-free", "two-free"],
)
def test_what_folders_take(lengths: list[int], shape: Shape) -> None:
    assert measure(lengths) == shape


def test_a_log_is_clean_until_something_is_written() -> None:
    def is_clean(ring: bytes) -> bool:
        return log.is_clean(MemorySource(b"before" * 2 + ring), 12, len(ring))

    size = 9 << 20
    clean = log.clean(bytes(16)).ljust(size, b"\0")
    assert is_clean(bytes(size))
    assert is_clean(clean)
    assert not is_clean(clean[: 512 + 9] + b"\0" + clean[512 + 10 :])  # oh_flags


def record(cycle: int, flags: int) -> bytes:
    """A record of two sectors; by its flags an unmount's (0x20) or none."""
    both = bytearray(log.clean(bytes(16)))
    struct.pack_into(">I", both, 4, cycle)
    struct.pack_into(">I", both, 512, cycle)
    both[512 + 9] = flags
    return bytes(both)


@pytest.mark.parametrize("before", [0, 1, 4095, 4096, 4097, 9000, 9215])
def test_the_newest_record_of_a_log_is_found_wherever_it_is(before: int) -> None:
    def is_clean(flags: int) -> bool:
        ring = record(2, 0) * before + record(2, flags) + record(1, 0x20 - flags) * (9215 - before)
        return log.is_clean(MemorySource(ring), 0, len(ring))

    assert is_clean(0x20)
    assert not is_clean(0)


def test_a_record_that_goes_on_at_the_start_of_the_log_is_found() -> None:
    header, operation = record(1, 0x20)[:512], record(2, 0x20)[512:]
    ring = operation + record(1, 0) * 100 + header
    assert log.is_clean(MemorySource(ring), 0, len(ring))


def test_xfs_logprint_finds_the_log_clean(pack: Pack) -> None:
    done = run(need_tool("xfs_logprint", "xfsprogs"), "-t", pack(Tree(Directory(0o755))))
    assert "log tail: 2 head: 2 state: <CLEAN>" in done.stdout
