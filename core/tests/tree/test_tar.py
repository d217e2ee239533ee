"""The tar reader: every dialect gives the same tree, and what is not sound is one error."""

import io
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.store import Store
from fledge.testing import oracles, tars
from fledge.testing.tars import END, GNU, USTAR, V7, add_layer, archive, base256, header, member, pax
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.merge import merge
from fledge.tree.tar import MAX_EXTENSION, TarReader
from fledge.tree.tree import Tree
from fledge.values import GuestPath

Merged = Callable[..., Tree]
LONG_DIR = b"d" * 90 + b"/" + b"e" * 90
LONG = LONG_DIR + b"/" + b"f" * 90


def only(tree: Tree) -> tuple[bytes, Inode]:
    """The one entry that is not a directory."""
    ((path, inode),) = [(path, inode) for path, inode in tree.walk() if not isinstance(inode, Directory)]
    return path, inode


def read(tar: bytes) -> list[bytes]:
    reader = TarReader("layer test")
    reader.feed(tar)
    return reader.finish().paths


def fails(tar: bytes, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(BuildError, match=message) as caught:
        read(tar)
    assert time.monotonic() - start < 30
    assert str(caught.value).startswith("layer test: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([member(b"a" * 100, b"data", magic=V7)], id="case_025-v7"),
        pytest.param([member(b"a" * 100, b"data", b"\0", magic=V7)], id="case_025-v7-flag"),
        pytest.param([member(b"a" * 100, b"data")], id="case_025-ustar"),
        pytest.param([member(b"a" * 100, b"data", magic=GNU)], id="case_025-gnu"),
        pytest.param([member(b"a" * 100, b"data", b"7")], id="case_025-contiguous"),
        pytest.param([pax((b"path", b"a" * 100)), member(b"x", b"data")], id="case_025-pax"),
        pytest.param([pax((b"path", b"a" * 100), flag=b"X"), member(b"x", b"data")], id="case_025-solaris"),
        pytest.param([member(b"././@LongLink", b"a" * 100 + b"\0", b"L"), member(b"x", b"data", magic=GNU)], id="case_025-L"),
    ],
)  # fmt: skip
def test_name_of_100_bytes(merged: Merged, members: list[bytes]) -> None:
    path, inode = only(merged(members))
    assert path == b"a" * 100
    assert isinstance(inode, File)
    assert inode.content.read() == b"data"


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([pax((b"path", LONG)), member(LONG[:100], b"data")], id="case_025-pax"),
        pytest.param([member(b"././@LongLink", LONG + b"\0", b"L"), member(LONG[:100], b"data", magic=GNU)], id="case_025-gnu"),
    ],
)  # fmt: skip
def test_case_025_long_names(merged: Merged, members: list[bytes]) -> None:
    assert only(merged(members))[0] == LONG


def test_case_025_prefix(merged: Merged) -> None:
    prefix, name = b"p" * 100 + b"/" + b"q" * 54, b"n" * 99
    assert only(merged([member(name, prefix=prefix)]))[0] == prefix + b"/" + name
    # star's prefix ends where its atime begins, and GNU has no prefix but times there.
    star = {131 + 345: b"00000000000", 508: b"tar\0"}
    assert only(merged([member(name, prefix=b"p" * 131, tail=star)]))[0] == b"p" * 131 + b"/" + name
    assert only(merged([member(name, magic=GNU, prefix=b"00000000000")]))[0] == name


@pytest.mark.parametrize("format", ["v7", "ustar", "gnu", "oldgnu", "posix"])
def test_case_025_gnu_tar_writes(tmp_path: Path, store: Store, format: str) -> None:  # noqa: A002
    writes_the_same(tmp_path, store, ["tar", f"--format={format}"], short=format in ("v7", "ustar"))


@pytest.mark.parametrize("format", ["v7", "ustar", "gnutar", "pax"])
def test_case_025_bsdtar_writes(tmp_path: Path, store: Store, format: str) -> None:  # noqa: A002
    oracles.need_tool("bsdtar", "libarchive-tools")
    writes_the_same(tmp_path, store, ["bsdtar", f"--format={format}"], short=format in ("v7", "ustar"))


def writes_the_same(tmp_path: Path, store: Store, argv: list[str], *, short: bool) -> None:
    folder = tmp_path / "tree"
    deep = folder / "sub" / ("d" * (30 if short else 200)) / ("e" * (30 if short else 200))
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"data" * 1000)
    (folder / "link").symlink_to("x" * (90 if short else 3000))
    (folder / "hard").hardlink_to(deep / "file")
    (folder / "empty").touch()
    oracles.run(*argv, "-cf", tmp_path / "x.tar", "-C", folder, ".")
    tree = Tree(merge([add_layer(store, (tmp_path / "x.tar").read_bytes())], 0))
    assert {path for path, _ in tree.walk()} == {b""} | {bytes(path.relative_to(folder)) for path in folder.rglob("*")}
    hard = tree.get(GuestPath.parse("/hard"))
    assert isinstance(hard, File)
    assert hard.content.read() == b"data" * 1000
    assert hard is tree.get(GuestPath.parse(bytes(deep / "file")[len(bytes(folder)) :]))
    assert hard.mtime // 10**9 == int((folder / "hard").stat().st_mtime)
    link = tree.get(GuestPath.parse("/link"))
    assert isinstance(link, Symlink)
    assert link.target == bytes((folder / "link").readlink())


def test_v7_directory_is_a_name_with_a_slash(merged: Merged) -> None:
    assert isinstance(merged([header(b"d/", b"\0", magic=V7)]).root.entries[b"d"], Directory)
    assert isinstance(merged([header(b"d/", b"0")]).root.entries[b"d"], File)


def test_case_026_linkname_without_nul(merged: Merged) -> None:
    tree = merged([header(b"s", b"2", link=b"t" * 100), member(b"t" * 100), header(b"h", b"1", link=b"t" * 100)])
    assert isinstance(link := tree.root.entries[b"s"], Symlink)
    assert link.target == b"t" * 100
    assert tree.root.entries[b"h"] is tree.root.entries[b"t" * 100]


@pytest.mark.parametrize(
    "size",
    [b"00000000010\0", b"000000000010", b"10 ", b"       10 \0", b"         10 ", b"\0\00000010\0", b"10\0garbage", base256(8, 12)],
)  # fmt: skip
def test_case_027_size(merged: Merged, size: bytes) -> None:
    _, inode = only(merged([member(b"f", b"8 bytes.", size=size), header(b"d", b"5")]))
    assert isinstance(inode, File)
    assert inode.content.read() == b"8 bytes."


def test_case_027_size_in_pax(merged: Merged) -> None:
    _, inode = only(merged([pax((b"size", b"8")), member(b"f", b"8 bytes.", size=0), header(b"d", b"5")]))
    assert isinstance(inode, File)
    assert inode.content.read() == b"8 bytes."


@pytest.mark.parametrize(
    ("members", "mtime"),
    [
        ([member(b"f", mtime=1)], 10**9),
        ([member(b"f", mtime=b"")], 0),
        ([member(b"f", mtime=b"777777777777")], (8**12 - 1) * 10**9),
        ([member(b"f", mtime=base256(-5, 12))], -5 * 10**9),
        ([member(b"f", mtime=base256(-(1 << 90), 12))], -((1 << 63) - 1) * 10**9),
        ([member(b"f", mtime=base256(1 << 40, 12))], (1 << 40) * 10**9),
        ([pax((b"mtime", b"1.5")), member(b"f")], 1_500_000_000),
        ([pax((b"mtime", b"1.123456789999")), member(b"f")], 1_123_456_789),
        ([pax((b"mtime", b"-1.25")), member(b"f")], -1_250_000_000),
        ([pax((b"mtime", b"-0.5")), member(b"f")], -500_000_000),
        ([pax((b"mtime", b"7.")), member(b"f")], 7_000_000_000),
        ([pax((b"mtime", b"9" * 30)), member(b"f")], ((1 << 63) - 1) * 10**9),
        ([pax((b"mtime", b"")), member(b"f", mtime=3)], 3_000_000_000),
    ],
)
def test_case_029_mtime(merged: Merged, members: list[bytes], mtime: int) -> None:
    assert only(merged(members))[1].mtime == mtime


@pytest.mark.parametrize("number", [0, 65535, 65536, 0o7777777, 0o7777777 + 1, 2**31, 2**32 - 1])
def test_case_030_owner(merged: Merged, number: int) -> None:
    field = number if number <= 0o7777777 else base256(number, 8)
    for members in (
        [member(b"f", uid=field, gid=field)],
        [pax((b"uid", b"%d" % number), (b"gid", b"%d" % number)), member(b"f", uid=1, gid=1)],
    ):
        inode = only(merged(members))[1]
        assert (inode.uid, inode.gid) == (number, number)


def test_case_030_owner_that_linux_can_not_hold() -> None:
    for tar in (
        member(b"f", uid=base256(2**32, 8)),
        member(b"f", gid=base256(-1, 8)),
        pax((b"uid", b"4294967296")) + member(b"f"),
        pax((b"gid", b"-1")) + member(b"f"),
    ):
        fails(archive(tar), "entry '/f'.*(owner|uid|gid)")


@pytest.mark.parametrize(
    "value", [b"plain", b"", b"a\nb", b"\0", b"a\0b\n\0", bytes(range(256)), b"=", b"x" * 65536, b"12 k=v\n"]
)
def test_case_031_xattrs(merged: Merged, value: bytes) -> None:
    tree = merged([pax((b"SCHILY.xattr.user.k=y", b"odd"), (b"SCHILY.xattr.user.k", value)), member(b"f")])
    # The first = ends the keyword, so a name can't hold one.
    assert only(tree)[1].xattrs == {b"user.k": value}


def test_xattrs_of_libarchive_and_gnu(merged: Merged) -> None:
    records = (
        (b"LIBARCHIVE.xattr.user.a%3Db", b"AP8K"),
        (b"LIBARCHIVE.xattr.user.both", b"YQ"),
        (b"SCHILY.xattr.user.both", b"a"),
        (b"RHT.security.selinux", b"system_u:object_r:etc_t:s0"),
    )
    assert only(merged([pax(*records), member(b"f")]))[1].xattrs == {
        b"user.a=b": b"\x00\xff\n",
        b"user.both": b"a",
        b"security.selinux": b"system_u:object_r:etc_t:s0\0",
    }


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"new\nline", "naïve".encode("latin-1"), b"\\", b" ", b"...", b"x" * 255]
)
def test_case_032_any_bytes_in_names(merged: Merged, name: bytes) -> None:
    in_pax = [pax((b"path", name)), member(b"x")]
    for members in (in_pax, [member(name)]) if len(name) <= 100 else (in_pax,):
        assert only(merged(members))[0] == name


def test_case_033_nul_in_a_pax_path() -> None:
    fails(archive(pax((b"path", b"a\0b")), member(b"x")), "NUL in the extended header's path")
    fails(archive(pax((b"linkpath", b"a\0b")), header(b"x", b"2", link=b"y")), "NUL in the extended header's linkpath")
    fails(archive(member(b"L", b"a\0b\0", b"L"), member(b"x")), "long name .* NUL")


def test_case_034_global_headers(merged: Merged) -> None:
    shared = pax(
        (b"comment", b"0123abcd"), (b"uid", b"7"), (b"mtime", b"9.5"), (b"SCHILY.xattr.user.g", b"g"), flag=b"g"
    )
    tree = merged(
        [
            shared,
            member(b"a"),
            pax((b"uid", b"8"), (b"mtime", b"")),
            member(b"b", mtime=2),
            pax((b"uid", b"9"), flag=b"g"),
            header(b"c", b"2", link=b"t"),
        ]
    )
    entries = tree.root.entries
    assert {name: (node.uid, node.mtime, dict(node.xattrs)) for name, node in entries.items()} == {
        b"a": (7, 9_500_000_000, {b"user.g": b"g"}),
        b"b": (8, 2_000_000_000, {b"user.g": b"g"}),
        b"c": (9, 9_500_000_000, {b"user.g": b"g"}),
    }


def test_case_034_a_global_path_is_nonsense() -> None:
    fails(archive(pax((b"path", b"p"), flag=b"g"), member(b"x")), "global header gives every member the same path")


@pytest.mark.parametrize("flag", [b"8", b"9", b"A", b"D", b"M", b"N", b"V", b"Z", b"\xff", b" ", b"l"])
def test_case_035_unknown_type_flag(flag: bytes) -> None:
    fails(
        archive(member(b"x", flag=flag)),
        re.escape(f"entry '/x' at byte 0 of the tar: type flag {flag!r} is not supported"),
    )


def test_case_043_negative_size() -> None:
    for size in (base256(-1, 12), base256(-(1 << 80), 12), b"-1"):
        fails(archive(member(b"x", size=size)), "entry '/x'.*size")
    fails(archive(pax((b"size", b"-1")), member(b"x")), "size b'-1'")
    fails(archive(member(b"x", b"", b"x", size=base256(-512, 12)), member(b"x")), "size")


def test_case_044_bad_checksum() -> None:
    good = member(b"first")
    for chksum in (b"000000\0 ", b"garbage!", b"-00001\0 ", bytes(8)):
        fails(
            archive(good, header(b"second", chksum=chksum), member(b"third")), r"entry '/second' at byte 512 .*checksum"
        )
    broken = bytearray(archive(good, member(b"second")))
    broken[512 + 300] ^= 1
    fails(bytes(broken), "checksum")


def test_case_044_sums_that_agree_modulo_65521_do_not_agree() -> None:
    block = bytearray(header(b"\xff" * 100, b"2", link=b"\xff" * 100, prefix=b"\xff" * 155))
    true = int(block[148:154], 8)
    for wrong in (true - 65521, true + 65521, true ^ 1):
        block[148:156] = b"%06o\0 " % wrong
        fails(bytes(block) + END, "checksum")


def test_signed_checksums_of_old_tars() -> None:
    block = header(b"n\xe4me", chksum=b" " * 8)
    signed = sum(byte - 256 if byte > 127 else byte for byte in block)
    assert read(archive(header(b"n\xe4me", chksum=b"%06o\0 " % signed))) == [b"n\xe4me"]


def test_case_045_truncated() -> None:
    whole = archive(pax((b"path", b"p" * 200)), member(b"x", b"d" * 1500), member(b"y", b"e" * 700))
    first = 512 + 512 + 512 + 1500
    assert read(whole[:first]) == [b"p" * 200]
    last = first + 36 + 512 + 700
    for cut in [*range(1, first), *range(first + 37, last)]:
        with pytest.raises(BuildError, match=r"ends (in the middle of|after an extended header)"):
            read(whole[:cut])


@pytest.mark.parametrize("rest", [b"", bytes(512), END, END + b"garbage", bytes(10240), END + member(b"more")])
def test_end_of_the_tar(rest: bytes) -> None:
    assert read(member(b"x", b"data") + rest) == [b"x"]


def test_data_without_padding_at_the_end() -> None:
    assert read(member(b"x", b"data")[: 512 + 4]) == [b"x"]


def test_zero_block_between_headers() -> None:
    fails(member(b"x") + bytes(512) + member(b"y") + END, "at byte 512 of the tar: a single zero block")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"0 \n", id="case_046-zero"),
        pytest.param(b"0 path=x\n", id="case_046-zero-with-keyword"),
        pytest.param(b"5 a=\n1 ", id="case_046-short"),
        pytest.param(b"999 path=x\n", id="case_046-beyond-the-header"),
        pytest.param(b"99999999999999999999999 path=x\n", id="case_046-huge"),
        pytest.param(b"8 path=x\n", id="case_046-too-small"),
        pytest.param(b"-10 path=x\n", id="case_046-negative"),
        pytest.param(b"+10 path=x\n", id="case_046-signed"),
        pytest.param(b" 10 path=x\n", id="case_046-space"),
        pytest.param(b"10 path:xy\n", id="case_046-no-equals"),
        pytest.param(b"5 =x\n", id="case_046-no-keyword"),
        pytest.param(b"\0" * 100, id="case_046-zeros"),
        pytest.param(b"10 path=xy", id="case_046-no-newline"),
        pytest.param(b"10\n", id="case_046-no-space"),
    ],
)
def test_malformed_records(body: bytes) -> None:
    fails(archive(member(b"h", body, b"x"), member(b"f")), "record of the extended header")


@pytest.mark.parametrize("flag", [b"x", b"g", b"L", b"K"])
def test_case_046_oversized_header(flag: bytes) -> None:
    fails(header(b"h", flag, size=MAX_EXTENSION + 1), f"at most {MAX_EXTENSION}|{MAX_EXTENSION} are allowed")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member(b"f", mode=b"rwxr-xr-x"[:8])], "mode b'rwxr-xr-' is not an octal number"),
        ([member(b"f", uid=b"0000_10\0")], "uid"),
        ([member(b"f", gid=b"0000089\0")], "gid"),
        ([member(b"f", mtime=b"0o7")], "mtime"),
        ([member(b"f", size=b"1 1")], "size b'1 1'"),
        ([pax((b"mtime", b"1e5")), member(b"f")], "mtime"),
        ([pax((b"mtime", b"nan")), member(b"f")], "mtime"),
        ([pax((b"size", b"1" * 25)), member(b"f")], "size"),
        ([pax((b"uid", b"1_0")), member(b"f")], "uid"),
        ([member(b"")], "it has no name"),
        ([header(b"s", b"2")], "a link without a target"),
        ([header(b"h", b"1")], "a link without a target"),
        ([header(b"h", b"1", link=b"a/..")], "a hard link to the root"),
        ([header(b"c", b"3", device=(4096, 0))], "device 4096:0"),
        ([header(b"b", b"4", device=(0, 1 << 20))], "device 0:1048576"),
        ([pax((b"path", b"n" * 256)), member(b"f")], "has 256 bytes; Linux allows 255"),
        ([pax((b"path", b"d/" * 2048 + b"f")), member(b"f")], "the path has 4097 bytes; Linux allows 4095"),
        ([pax((b"linkpath", b"t" * 4096)), header(b"s", b"2")], "target of 4096 bytes; Linux allows 4095"),
        ([pax((b"path", b"a")), pax((b"path", b"b")), member(b"f")], "two headers of type b'x'"),
        ([member(b"L", b"a\0", b"L"), member(b"L", b"b\0", b"L"), member(b"f")], "two headers of type b'L'"),
        ([member(b"L", b"a\0", b"L"), pax((b"path", b"b")), member(b"f")], "two names"),
        ([pax((b"SCHILY.acl.access", b"user::rw-")), member(b"f")], "SCHILY.acl.access"),
        ([pax((b"SCHILY.xattr.", b"x")), member(b"f")], "not a name of an extended attribute"),
        ([pax((b"SCHILY.xattr.user." + b"n" * 251, b"x")), member(b"f")], "not a name of an extended attribute"),
        ([pax((b"SCHILY.xattr.user.v", b"x" * 65537)), member(b"f")], "65537 bytes"),
        ([pax((b"LIBARCHIVE.xattr.user.v", b"?")), member(b"f")], "base64"),
    ],
)
def test_unsound_member(members: list[bytes], message: str) -> None:
    fails(archive(*members), message)


def test_boundaries_that_hold() -> None:
    path = b"d/" * 2047 + b"f"
    assert read(archive(pax((b"path", path)), member(b"f"))) == [path]
    assert read(archive(pax((b"linkpath", b"t" * 4095)), header(b"s", b"2"))) == [b"s"]
    assert read(archive(header(b"c", b"3", device=(4095, (1 << 20) - 1)))) == [b"c"]


def test_a_size_where_there_are_no_data_is_passed_over(merged: Merged) -> None:
    tree = merged([member(b"f"), header(b"d", b"5", size=4096), header(b"h", b"1", link=b"f", size=77), member(b"g")])
    assert sorted(tree.root.entries) == [b"d", b"f", b"g", b"h"]


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 1024, 4096])
def test_bytes_come_in_any_portions(step: int) -> None:
    tar = archive(
        pax((b"path", LONG), (b"SCHILY.xattr.user.k", b"v" * 700)),
        member(b"x", b"d" * 1500),
        header(b"d", b"5"),
        member(b"L", LONG_DIR + b"\0", b"L"),
        member(b"y", b"e" * 600, magic=GNU),
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"9000")),
        member(b"z", tars.padded(b"2\n0\n3\n8000\n4\n") + b"abcdefg"),
        header(b"l", b"2", link=b"t"),
    )  # fmt: skip
    whole, split = TarReader("whole"), TarReader("split")
    whole.feed(tar)
    for at in range(0, len(tar), step):
        split.feed(tar[at : at + step])
    one, other = whole.finish(), split.finish()
    assert one.paths == other.paths == [LONG, b"d", LONG_DIR, b"s", b"l"]
    assert list(one.records()) == list(other.records())
    assert one.targets == other.targets == [b"t"]
    assert [(extra.xattrs, extra.extents) for extra in one.extras] == [
        (extra.xattrs, extra.extents) for extra in other.extras
    ]


def test_python_tarfile_reads_what_the_tests_write() -> None:
    tar = archive(pax((b"path", LONG), (b"uid", b"4000000000")), member(b"x", b"data"), header(b"s", b"2", link=b"t"))
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        first, second = file.getmembers()
        assert (first.name.encode(), first.uid, second.linkname) == (LONG, 4000000000, "t")
    assert USTAR in tar


def test_a_hundred_thousand_headers_take_seconds() -> None:
    """No more than a guard against something quadratic; the bench measures."""
    block = b"".join(member(b"dir/file-%06d" % number) for number in range(10_000))
    reader = TarReader("x")
    start = time.monotonic()
    for _ in range(10):
        reader.feed(block)
    assert time.monotonic() - start < 60
    assert len(reader.finish()) == 100_000
