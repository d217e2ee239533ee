"""The same tree gives the same bytes, whatever the threads, the order of dicts and the store do."""

from __future__ import annotations

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fledge.store import Store
from fledge.testing.trees import EPOCH, data, hard_tree
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree

KIB = 1 << 10


def shuffled(folder: Directory, seed: int) -> None:
    entries = list(folder.entries.items())
    random.Random(seed).shuffle(entries)
    folder.entries = dict(entries)
    for _, inode in entries:
        if isinstance(inode, Directory):
            shuffled(inode, seed + 1)


def mixed_tree(changed: bytes = b"") -> Tree:
    """Blocks and fragments, of which few compress alike."""
    root = Directory(0o755, mtime=EPOCH)
    source = random.Random(5)
    for i in range(400):
        line = source.randbytes(40).hex().encode()
        content = line * source.randrange(1, 300)
        root.entries[b"file%04d" % i] = File(Content.of(content), 0o644)
    root.entries[b"large"] = File(Content.of(b"text " * 100_000), 0o644)
    root.entries[b"dense"] = File(Content.of(data(300_000, 1)), 0o644)
    root.entries[b"half"] = File(Content.of(data(64 * KIB, 1) + bytes(200_000)), 0o644)
    if changed:
        root.entries[b"file0100a"] = File(Content.of(changed), 0o755)
    return Tree(root, EPOCH)


def fresh(tmp_path: Path, name: str) -> Store:
    return Store(tmp_path / name)


@pytest.mark.parametrize("options", [{}, {"compression": "xz"}, {"compression": "gzip"}], ids=str)
def test_case_092_core_counts_and_the_order_of_entries_change_nothing(pack, tmp_path, options):
    one = pack(hard_tree(acls=False), jobs=1, store=fresh(tmp_path, "one"), **options)
    tree = hard_tree(acls=False)
    shuffled(tree.root, 1)
    four = pack(tree, jobs=4, store=fresh(tmp_path, "four"), **options)
    assert one.read_bytes() == four.read_bytes()


def test_a_warm_store_gives_what_a_cold_one_gives(pack, tmp_path, store):
    cold = pack(mixed_tree(b"new" * 3000), store=fresh(tmp_path, "elsewhere"))
    pack(mixed_tree())
    warm = pack(mixed_tree(b"new" * 3000))
    again = pack(mixed_tree(b"new" * 3000))
    assert warm.read_bytes() == cold.read_bytes()
    assert again.read_bytes() == cold.read_bytes()


def test_case_091_builds_at_once_share_a_store(pack, tmp_path, store):
    wanted = pack(mixed_tree(), store=fresh(tmp_path, "elsewhere")).read_bytes()
    with ThreadPoolExecutor(3) as pool:
        images = list(pool.map(lambda _: pack(mixed_tree()), range(3)))
    assert [image.read_bytes() for image in images] == [wanted] * 3
    assert pack(mixed_tree()).read_bytes() == wanted


def test_source_date_epoch_is_the_time_of_the_image(pack):
    image = pack(hard_tree(acls=False), epoch=123_456_789).read_bytes()
    assert int.from_bytes(image[8:12], "little") == 123_456_789


def packs(store: Store) -> list[Path]:
    return sorted(path for path in store.path("packs", "squashfs").rglob("*") if path.is_file())


def test_a_small_change_compresses_only_a_few_blocks_again(pack, store):
    pack(mixed_tree())
    (first,) = packs(store)
    pack(mixed_tree())
    assert packs(store) == [first], "nothing new, so no new pack"
    pack(mixed_tree(b"one file more"))
    (second,) = set(packs(store)) - {first}
    assert second.stat().st_size < first.stat().st_size / 5


def test_a_pack_that_is_used_looks_new_to_who_prunes(pack, store):
    pack(mixed_tree())
    (path,) = packs(store)
    os.utime(path, (1, 1))
    pack(mixed_tree())
    assert path.stat().st_mtime > 1_000_000_000


def damage_blocks(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    for at in range(0, len(raw) - 10_000, 1000):
        raw[at] ^= 0x40
    path.write_bytes(raw)


def cut_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def cut_begin(path: Path) -> None:
    path.write_bytes(path.read_bytes()[100:])


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def swap_records(path: Path) -> None:
    """Each key points to another block."""
    raw = bytearray(path.read_bytes())
    count = int.from_bytes(raw[-40:-32], "little")
    index = len(raw) - 56 - count * 48
    for at in range(index, len(raw) - 56 - 96, 96):
        raw[at : at + 32], raw[at + 48 : at + 80] = raw[at + 48 : at + 80], raw[at : at + 32]
    path.write_bytes(raw)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [damage_blocks, cut_end, cut_begin, empty, zeros, swap_records, folder_instead])
def test_a_damaged_pack_never_reaches_an_image(pack, tmp_path, store, damage):
    wanted = pack(mixed_tree(), store=fresh(tmp_path, "elsewhere")).read_bytes()
    pack(mixed_tree())
    (path,) = packs(store)
    damage(path)
    assert pack(mixed_tree()).read_bytes() == wanted
    assert pack(mixed_tree()).read_bytes() == wanted


def test_a_damaged_pack_is_replaced(pack, store):
    pack(mixed_tree())
    (damaged,) = packs(store)
    damage_blocks(damaged)
    pack(mixed_tree())
    (new,) = packs(store)
    assert new != damaged
    pack(mixed_tree())
    again = packs(store)
    pack(mixed_tree())
    assert packs(store) == again, "everything is known again"


def test_levels_and_block_sizes_do_not_share_blocks(pack, tmp_path):
    for options in ({"compression_level": 3}, {"compression_level": 9}, {"block_size": 4096}, {"compression": "gzip"}):
        warm = pack(mixed_tree(), **options)
        cold = pack(mixed_tree(), store=fresh(tmp_path, "elsewhere"), **options)
        shutil.rmtree(tmp_path / "elsewhere")
        assert warm.read_bytes() == cold.read_bytes()


def test_a_store_that_can_not_be_written_costs_time_only(pack, tmp_path, store):
    wanted = pack(mixed_tree(), store=fresh(tmp_path, "elsewhere")).read_bytes()
    store.folder.mkdir()
    (store.folder / "packs").write_bytes(b"a file is in the way")
    assert pack(mixed_tree()).read_bytes() == wanted
