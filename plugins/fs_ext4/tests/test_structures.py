"""The parts on their own: geometry, hash, extents, xattrs."""

from __future__ import annotations

import os
import random
import struct
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.blocks import Allocator, extents_of
from fledge.testing.conformance import packing
from fledge.testing.oracles import mounted, need_tool, run
from fledge.testing.trees import MINIMAL_ACL, acl, differences
from fledge.tree.content import EMPTY
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge_fs_ext4 import extents, xattrs
from fledge_fs_ext4.directory import Index
from fledge_fs_ext4.dirhash import hash_names
from fledge_fs_ext4.format import MAX_EXTENT
from fledge_fs_ext4.geometry import has_backup, plan
from hypothesis import given
from hypothesis import strategies as st

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


def test_backups_stand_in_groups_0_1_and_powers_of_3_5_and_7() -> None:
    assert [g for g in range(130) if has_backup(g)] == [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]


@given(
    content=st.integers(0, 25_000_000),
    inodes=st.integers(11, 3_000_000),
    free=st.integers(0, 8_000_000),
    journal=st.booleans(),
)
def test_any_geometry_has_room_for_what_was_asked(content: int, inodes: int, free: int, journal: bool) -> None:
    shape = plan(content, inodes, free, journal=journal)
    assert shape.inodes >= inodes
    assert shape.inodes_per_group <= 32_768
    assert shape.blocks_per_group <= 32_768
    assert shape.blocks_per_group % 8 == 0
    assert (shape.groups - 1) * shape.blocks_per_group < shape.blocks <= shape.groups * shape.blocks_per_group
    allocator = Allocator(shape.first_free, shape.fixed)
    allocator.take(1 + shape.journal_blocks + extents.most_tree_blocks([(0, shape.journal_blocks)]) + content)
    assert allocator.cursor <= shape.blocks
    used = sum(length for _, length in (*shape.fixed, *shape.tables, *allocator.used()))
    kernels = min(shape.blocks // 50, 4096)
    # Tables that would run into a backup go behind it; what they leave is free, and more than was asked for at the most.
    before = sum(length for start, length in shape.fixed if start < shape.first_free)
    gaps = shape.first_free - before - sum(length for _, length in shape.tables)
    # Many inodes of little content make small groups, whose size is found by trying.
    slack = 2048 if shape.blocks_per_group == 32_768 else 8192
    assert free <= shape.blocks - used - kernels <= max(free, gaps) + slack


def test_the_hash_is_the_kernels() -> None:
    seed = uuid.uuid5(uuid.NAMESPACE_DNS, "seed")
    randomly = random.Random(1)
    names = [b"%d" % i * length for i, length in enumerate([1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 100, 127])]
    names += [bytes(randomly.choices(b"abcdefXYZ0189._", k=k)) for k in range(1, 250, 3)]
    hashes = hash_names(names, seed.bytes)
    for name, value in zip(names, hashes, strict=True):
        done = run(need_tool("debugfs", "e2fsprogs"), "-R", f"dx_hash -h half_md4 -s {seed} {name.decode()}")
        assert f"is 0x{value:x} " in done.stdout


def test_the_hash_does_not_depend_on_who_else_is_in_the_batch() -> None:
    seed = bytes(range(16))
    names = [bytes([65 + i % 26]) * (1 + i % 255) + b"%d" % i for i in range(3000)]
    names = [name[:255] for name in names]
    together = hash_names(names, seed)
    assert together[::97] == [hash_names([name], seed)[0] for name in names[::97]]


def test_the_kernel_finds_names_of_any_bytes_through_the_index(pack: Pack, fsck: Fsck) -> None:
    # Bytes from 0x80 on are where a hash of signed characters differs.
    randomly = random.Random(2)
    names = {bytes(randomly.choices(range(0x70, 0x100), k=randomly.randrange(1, 256))) for _ in range(900)}
    file = File(EMPTY, 0o644)
    tree = Tree(Directory(0o755))
    tree.root.entries = dict.fromkeys(names, file)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        for name in names:
            os.lstat(os.fsencode(folder) + b"/" + name)


def test_a_leaf_says_that_the_one_before_has_names_of_its_first_hash() -> None:
    seed = bytes(range(16))
    names = [(b"%06d" % i).rjust(60, b"n") for i in range(100_000)]
    by_hash: dict[int, list[bytes]] = {}
    for name, value in zip(names, hash_names(names, seed), strict=True):
        by_hash.setdefault(value, []).append(name)
    shared = max(value for value, group in by_hash.items() if len(group) == 2)
    # 60 entries of 68 bytes fill a leaf: the first of the two is the sixtieth.
    below = [group[0] for value, group in sorted(by_hash.items()) if value < shared][:59]
    entries = [(name, 11, 1) for name in [*below, *by_hash[shared]]]
    root, first, second = Index(2, 2, entries, seed).seal(0)
    assert struct.unpack_from("<HHIII", root, 32) == (507, 2, 1, shared | 1, 2)
    one, other = sorted(by_hash[shared])
    assert all(name in first for name in [*below, one])
    assert other in second


@given(st.lists(st.tuples(st.integers(1, 100_000), st.integers(1, 70_000)), max_size=40), st.integers(10, 2_000_000))
def test_an_extent_tree_never_takes_more_blocks_than_were_set_aside(gaps: list[tuple[int, int]], start: int) -> None:
    shape = plan(3_000_000, 3_000_000, 0, journal=False)
    allocator = Allocator(start, shape.fixed)
    runs, at = [], 0
    for gap, count in gaps:
        runs.append((at + gap, count))
        at += gap + count
    placed = [each for logical, count in runs for each in extents_of(logical, allocator.take(count), MAX_EXTENT)]
    blocks: list[bytes] = []

    def place(block: bytes) -> int:
        blocks.append(block)
        return len(blocks)

    root = extents.root(placed, 0, place)
    assert len(root) <= 60
    assert len(blocks) <= extents.most_tree_blocks(runs)


MANY = acl(
    *[(1, 7, 0xFFFFFFFF)],
    *[(2, i % 8, i) for i in range(400)],
    (4, 5, 0xFFFFFFFF),
    (16, 7, 0xFFFFFFFF),
    (32, 5, 0xFFFFFFFF),
)


@pytest.mark.parametrize(
    "attributes",
    [
        {b"user.a": b""},
        {b"user.a": b"", b"user.b": b"", b"user.c": b""},
        {b"user.v": b"v" * 71},
        {b"user.v": b"v" * 72},
        {b"user.v": b"v" * 73},
        {b"user." + b"n" * 250: b"v" * 100},
        {b"user.\xff\xfe": b"\0\n\xff", b"trusted.overlay.opaque": b"y", b"security.ima": bytes(33)},
        {b"user.%d" % i: b"%d" % i * i for i in range(40)},
        {b"system.posix_acl_access": MINIMAL_ACL},
        {b"system.posix_acl_access": MANY},
        {b"system.posix_acl_access": MINIMAL_ACL, b"system.posix_acl_default": MINIMAL_ACL, b"user.x": b"1"},
    ],
)
def test_the_kernel_shows_xattrs_as_they_were(pack: Pack, fsck: Fsck, attributes: dict[bytes, bytes]) -> None:
    tree = Tree(Directory(0o755))
    tree.root.entries[b"folder"] = Directory(0o750, xattrs=attributes)
    if b"system.posix_acl_default" not in attributes:
        tree.root.entries[b"file"] = File(EMPTY, 0o640, xattrs=attributes)
    image = pack(tree, size_buffer_mb=1)
    fsck(image)
    with mounted(image, "ext4") as folder:
        # An ACL's entry for the owning group is what the mode's bits would be without it: the kernel shows both as stored.
        assert differences(tree, folder) == []


def test_an_acl_has_no_ids_where_it_names_nobody(tmp_path: Path) -> None:
    tree = Tree(Directory(0o755))
    value = acl((1, 6, 0), (2, 4, 1000), (4, 4, 0), (16, 4, 7), (32, 0, 0))
    tree.root.entries[b"f"] = File(EMPTY, 0o640, xattrs={b"system.posix_acl_access": value, b"user.x": bytes(200)})
    packed = packing.pack("ext4", {}, tree, tmp_path, hashed=False)
    assert packed.differences == []
    with mounted(packed.path, "ext4") as folder:
        assert os.getxattr(folder / "f", "system.posix_acl_access") == MINIMAL_ACL


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (b"user.", b"", "of no kind that ext4 holds"),
        (b"posix", b"", "of no kind that ext4 holds"),
        (b"system.data", b"", "of no kind that ext4 holds"),
        (b"user." + b"n" * 251, b"", "has a name of 256 bytes; at most 255"),
        (b"system.posix_acl_access", b"", "not a POSIX ACL of version 2"),
        (b"system.posix_acl_access", struct.pack("<I", 1), "not a POSIX ACL of version 2"),
        (b"system.posix_acl_access", MINIMAL_ACL[:-1], "not a POSIX ACL of version 2"),
        (b"system.posix_acl_access", acl((3, 7, 0)), "of the unknown kind 0x3"),
        (b"user.x", bytes(4061), "ext4 has room for 4060"),
    ],
)
def test_what_xattrs_can_not_be(name: bytes, value: bytes, message: str) -> None:
    with pytest.raises(xattrs.Unfit, match=message):
        xattrs.encode({name: value})


@given(
    st.dictionaries(
        st.builds(
            bytes.__add__,
            st.sampled_from([b"user.", b"trusted.", b"security."]),
            st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"\0", b"n")),
        ),
        st.binary(max_size=200),
        max_size=12,
    )
)
def test_xattrs_are_read_back(attributes: dict[bytes, bytes]) -> None:
    stored = xattrs.encode(attributes)
    read = xattrs.decode_body(stored.body.ljust(96, b"\0"))
    if stored.block:
        assert len(stored.block) == 4096
        read |= xattrs.decode_block(stored.block)
    assert read == attributes
