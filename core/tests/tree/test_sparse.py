"""Sparse files in GNU tar's four encodings, as GNU tar writes them and as nobody should."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.store import Store
from fledge.testing import oracles
from fledge.testing.tars import BLOCK, GNU, add_layer, header, member, octal, padded, pax
from fledge.tree.inode import File
from fledge.tree.merge import merge
from fledge.tree.tree import Tree

Merged = Callable[..., Tree]
PAGE = 4096

# id: size, and where data stand.
FILES: dict[str, tuple[int, list[tuple[int, bytes]]]] = {
    "no-holes": (3 * PAGE, [(0, b"n" * 3 * PAGE)]),
    "all-hole": (5 * PAGE + 7, []),
    "leading": (9 * PAGE, [(8 * PAGE, b"l" * PAGE)]),
    "trailing": (900 * PAGE + 1, [(0, b"t" * PAGE)]),
    "four": (64 * PAGE, [(at * 8 * PAGE, bytes([at + 1]) * PAGE) for at in range(4)]),
    "five": (64 * PAGE, [(at * 8 * PAGE, bytes([at + 1]) * PAGE) for at in range(5)]),
    "twenty-six": (300 * PAGE, [(at * 8 * PAGE, bytes([at + 1]) * PAGE) for at in range(26)]),
    "hundred": (900 * PAGE, [(at * 8 * PAGE, bytes([at + 1]) * PAGE) for at in range(100)]),
    "nine-gigabytes": (9 << 30, [(0, b"a" * PAGE), ((9 << 30) - PAGE, b"z" * PAGE)]),
}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--format=gnu"], id="case_028-old-gnu"),
        pytest.param(["--format=posix", "--sparse-version=0.0"], id="case_028-0.0"),
        pytest.param(["--format=posix", "--sparse-version=0.1"], id="case_028-0.1"),
        pytest.param(["--format=posix", "--sparse-version=1.0"], id="case_028-1.0"),
    ],
)
def test_gnu_tar_writes(tmp_path: Path, store: Store, options: list[str]) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, (size, pieces) in FILES.items():
        with open(folder / name, "wb") as file:
            file.truncate(size)
            for offset, data in pieces:
                os.pwrite(file.fileno(), data, offset)
    (folder / ("after" + "x" * 120)).write_bytes(b"after the sparse ones")
    oracles.run("tar", "-S", "--sort=name", *options, "-cf", tmp_path / "x.tar", "-C", folder, ".")
    assert (tmp_path / "x.tar").stat().st_size < 4 << 20
    entries = merge([add_layer(store, (tmp_path / "x.tar").read_bytes())], 0).entries
    for name, (size, pieces) in FILES.items():
        inode = entries[name.encode()]
        assert isinstance(inode, File)
        content = inode.content
        assert content.size == size
        found = [(piece.offset, bytes(piece.source.view(piece.start, piece.length))) for piece in content.pieces]
        assert found == pieces, name
        if name != "no-holes":
            assert content.is_sparse
    after = entries[b"after" + b"x" * 120]
    assert isinstance(after, File)
    assert after.content.read() == b"after the sparse ones"


def old_gnu(entries: list[tuple[int, int]], size: int, stored: bytes) -> bytes:
    table = b"".join(octal(offset, 12) + octal(length, 12) for offset, length in entries[:4])
    tail = {386: table, 483: octal(size, 12)}
    rest = entries[4:]
    if rest:
        tail[482] = b"\1"
    blocks = b""
    while rest:
        table = b"".join(octal(offset, 12) + octal(length, 12) for offset, length in rest[:21])
        rest = rest[21:]
        blocks += padded(table.ljust(504, b"\0") + (b"\1" if rest else b"\0"))
    return header(b"s", b"S", size=len(stored), magic=GNU, tail=tail) + blocks + padded(stored)


def pax_0_0(entries: list[tuple[int, int]], size: int, stored: bytes) -> bytes:
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(entries))]
    for offset, length in entries:
        records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length)]
    return pax(*records) + member(b"s", stored)


def pax_0_1(entries: list[tuple[int, int]], size: int, stored: bytes) -> bytes:
    numbers = b",".join(b"%d,%d" % entry for entry in entries)
    return pax((b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.map", numbers)) + member(b"s", stored)


def pax_1_0(entries: list[tuple[int, int]], size: int, stored: bytes, table: bytes | None = None) -> bytes:
    if table is None:
        table = b"%d\n" % len(entries) + b"".join(b"%d\n%d\n" % entry for entry in entries)
    records = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"%d" % size))
    return pax(*records) + member(b"s", padded(table) + stored)


FORMS = [old_gnu, pax_0_0, pax_0_1, pax_1_0]
Form = Callable[[list[tuple[int, int]], int, bytes], bytes]


@pytest.mark.parametrize("form", FORMS)
def test_case_028_forms(merged: Merged, form: Form) -> None:
    """The generators of the bad ones below make good ones."""
    entries = [(10 * at, 3) for at in range(50)]
    inode = merged([form(entries, 1000, b"abc" * 50), member(b"next", b"n")]).root.entries[b"s"]
    assert isinstance(inode, File)
    assert inode.content.read() == (b"abc" + bytes(7)) * 50 + bytes(500)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("entries", "size", "stored"),
    [
        pytest.param([(0, 3), (2, 3)], 10, 6, id="overlap"),
        pytest.param([(5, 3), (0, 3)], 10, 6, id="falling"),
        pytest.param([(0, 3), (8, 3)], 10, 6, id="beyond-the-end"),
        pytest.param([(0, 3)], 10, 4, id="more-stored"),
        pytest.param([(0, 5)], 10, 4, id="less-stored"),
        pytest.param([(11, 0)], 10, 0, id="empty-beyond-the-end"),
    ],
)
def test_maps_that_are_not_sound(
    merged: Merged, form: Form, entries: list[tuple[int, int]], size: int, stored: int
) -> None:
    with pytest.raises(BuildError, match=r"entry '/s' .*sparse file of 10 bytes"):
        merged([form(entries, size, b"x" * stored), member(b"next")])


@pytest.mark.parametrize(
    "tar",
    [
        pytest.param(header(b"s", b"S", tail={483: octal(10, 12)}), id="type-S-not-of-gnu"),
        pytest.param(old_gnu([(0, 3)], 10, b"abc").replace(b"00000000003\0", b"8888888888x\0"), id="not-octal"),
        pytest.param(pax((b"GNU.sparse.map", b"0,3")) + member(b"s", b"abc"), id="no-size"),
        pytest.param(pax((b"GNU.sparse.map", b"0"), (b"GNU.sparse.size", b"9")) + member(b"s"), id="odd"),
        pytest.param(pax((b"GNU.sparse.map", b"0,-3"), (b"GNU.sparse.size", b"9")) + member(b"s"), id="negative"),
        pytest.param(pax((b"GNU.sparse.map", b"0,3"), (b"GNU.sparse.size", b"-9")) + member(b"s"), id="negative-size"),
        pytest.param(pax((b"GNU.sparse.numbytes", b"1"), (b"GNU.sparse.offset", b"0")) + member(b"s", b"1"), id="order"),
        pytest.param(pax((b"GNU.sparse.offset", b"1"), (b"GNU.sparse.offset", b"2")) + member(b"s", b"1"), id="twice"),
        pytest.param(pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")) + member(b"s"), id="version-2"),
        pytest.param(pax((b"GNU.sparse.major", b"1")) + member(b"s"), id="half-a-version"),
        pytest.param(pax_1_0([], 10, b"", b"99999999999\n"), id="count-is-huge"),
        pytest.param(pax_1_0([], 10, b"", b"100\n1\n1\n"), id="count-is-wrong"),
        pytest.param(pax_1_0([], 10, b"", b"x\n"), id="count-is-no-number"),
        pytest.param(pax_1_0([], 10, b"", b"1" * 3000), id="line-without-end"),
        pytest.param(pax_1_0([], 1 << 63, b""), id="size-over-63-bits"),
    ],
)  # fmt: skip
def test_encodings_that_are_not_sound(merged: Merged, tar: bytes) -> None:
    if b"8888888888x" in tar:
        block = bytearray(tar[:BLOCK])
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        tar = bytes(block) + tar[BLOCK:]
    with pytest.raises(BuildError, match=re.compile(r"entry '/(s|PaxHeaders/x)' .*(sparse|octal)")):
        merged([tar, member(b"next")])


def test_a_map_without_end_is_bounded(merged: Merged) -> None:
    endless = header(b"s", b"S", magic=GNU, tail={482: b"\1", 483: octal(10, 12)})
    table = padded((octal(0, 12) + octal(0, 12)) * 21 + b"\1")
    with pytest.raises(BuildError, match="more than 131072 extents"):
        merged([endless + table * 6300])
