"""A layer's way into the store: compressions, digests, limits, two at once, and what is kept."""

import gzip
import hashlib
import os
import random
import struct
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from fledge.errors import BuildError, UsageError
from fledge.image.descriptor import Descriptor
from fledge.progress import Stage
from fledge.store import Store
from fledge.testing import oracles
from fledge.testing.tars import add_layer, archive, header, member
from fledge.tree.ingest import Limits, ingest
from fledge.tree.layer import Layer, find_layer
from fledge.tree.merge import merge
from fledge.values import Digest

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
TAR = archive(
    member(b"file", random.Random(1).randbytes(300_000)), member(b"zeros", bytes(500_000)), header(b"dir", b"5")
)
DIFF_ID = Digest.of(TAR)
HALF = len(TAR) // 2


def take(store: Store, blob: bytes, *, step: int = 1 << 16, tar: bytes = TAR, **options: object) -> Layer:
    chunks = (blob[at : at + step] for at in range(0, len(blob), step))
    descriptor = Descriptor(MEDIA_TYPE, Digest.of(blob), len(blob))
    return ingest(store, descriptor, Digest.of(tar), chunks, **options)  # type: ignore[arg-type]


def kept(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file())


def skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, len(data)) + data


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(3).compress(data)


def zstd_streamed(data: bytes) -> bytes:
    """A frame that does not say how long its content is."""
    compressor = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compressobj()
    return compressor.compress(data) + compressor.flush()


def gzip_with_header_fields(data: bytes) -> bytes:
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = raw.compress(data) + raw.flush()
    fields = struct.pack("<H", 4) + b"ab\0\0" + b"name\0" + b"comment\0"
    return b"\x1f\x8b\x08\x1c\0\0\0\0\0\xff" + fields + body + struct.pack("<II", zlib.crc32(data), len(data))


BLOBS = {
    "case_036-none": TAR,
    "case_036-gzip": gzip.compress(TAR),
    "case_036-gzip-stored": gzip.compress(TAR, 0),
    "case_036-gzip-header-fields": gzip_with_header_fields(TAR),
    "case_036-gzip-members": gzip.compress(TAR[:HALF]) + gzip.compress(b"") + gzip.compress(TAR[HALF:]),
    "case_036-gzip-many-members": b"".join(gzip.compress(TAR[at : at + 999], 1) for at in range(0, len(TAR), 999)),
    "case_036-gzip-zeros-after": gzip.compress(TAR) + bytes(1000),
    "case_036-zstd": zstd(TAR),
    "case_036-zstd-unknown-size": zstd_streamed(TAR),
    "case_036-zstd-frames": zstd(TAR[:HALF]) + zstd_streamed(TAR[HALF:]),
    "case_036-zstd-skippable": skippable(b"first") + zstd(TAR[:HALF]) + skippable(b"") + zstd(TAR[HALF:]) + skippable(b"last"),
    # zstd:chunked is frames a file at a time, then its table of contents and a footer in skippable frames.
    "case_037-zstd-chunked": b"".join(zstd(TAR[at : at + 100_000]) for at in range(0, len(TAR), 100_000))
    + skippable(zstd(b'{"version": 1}')) + skippable(b"\0" * 64),
}  # fmt: skip


@pytest.mark.parametrize("case", BLOBS)
@pytest.mark.parametrize("step", [1 << 16, 4000])
def test_compressions(store: Store, case: str, step: int) -> None:
    layer = take(store, BLOBS[case], step=step)
    assert bytes(layer.source.view(0, layer.source.size)) == TAR
    assert kept(store) == sorted(
        [
            "lock",
            f"layers/sha256/{DIFF_ID.hex}/index",
            f"layers/sha256/{DIFF_ID.hex}/tar",
        ]
    )


def test_bytes_come_one_by_one(store: Store) -> None:
    tar = archive(member(b"f", b"data"))
    for blob in (tar, gzip.compress(tar), zstd(tar), skippable(b"x") + zstd(tar)):
        assert take(store, blob, step=1, tar=tar).diff_id == Digest.of(tar)


@pytest.mark.parametrize("program", ["gzip", "pigz", "zstd", "pzstd"])
def test_case_036_programs(store: Store, program: str) -> None:
    oracles.need_tool(program, "zstd" if program == "pzstd" else None)
    blob = subprocess.run([program, "-c"], input=TAR, stdout=subprocess.PIPE, check=True).stdout
    assert take(store, blob).diff_id == DIFF_ID


@pytest.mark.parametrize("name", ["bzip2", "xz"])
def test_compression_that_is_not_supported(store: Store, name: str) -> None:
    import bz2
    import lzma

    blob = {"bzip2": bz2.compress, "xz": lzma.compress}[name](TAR)
    with pytest.raises(BuildError, match=f"layer {Digest.of(blob)}: it is compressed with {name}; gzip, zstd and none"):
        take(store, blob)
    assert kept(store) == ["lock"]


GZIP, ZSTD = gzip.compress(TAR), zstd_streamed(TAR)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        pytest.param(GZIP[:-1], "gzip stream is cut short", id="case_045-gzip-trailer"),
        pytest.param(GZIP[: len(GZIP) // 2], "gzip stream is cut short", id="case_045-gzip"),
        pytest.param(GZIP[:5], "gzip stream is cut short", id="case_045-gzip-header"),
        pytest.param(GZIP[:1000] + b"\xff" * 100 + GZIP[1100:], "gzip stream is damaged", id="gzip-damaged"),
        pytest.param(GZIP[:-8] + b"1234" + GZIP[-4:], "gzip stream is damaged", id="gzip-crc"),
        pytest.param(GZIP + b"garbage", "not gzip follows", id="gzip-garbage"),
        pytest.param(ZSTD[:-10], "it decompresses to", id="case_045-zstd"),
        pytest.param(ZSTD[: len(ZSTD) // 2], "it decompresses to", id="case_045-zstd-half"),
        pytest.param(ZSTD[:-4] + b"1234", "zstd stream is damaged", id="zstd-checksum"),
        pytest.param(ZSTD + b"garbage", "zstd stream is damaged", id="zstd-garbage"),
        pytest.param(b"", "it decompresses to", id="case_045-nothing"),
        pytest.param(TAR[:-512], "it decompresses to", id="case_057-tar"),
        pytest.param(gzip.compress(TAR + b"\0"), "it decompresses to", id="case_057-gzip"),
    ],
)
def test_streams_that_are_not_sound(store: Store, blob: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=f"^layer {Digest.of(blob)}: .*({message})"):
        take(store, blob)
    assert kept(store) == ["lock"]


def test_case_057_diff_id_mismatch_names_both(store: Store) -> None:
    other = archive(member(b"other"))
    with pytest.raises(BuildError, match=f"decompresses to {DIFF_ID}; the image's config says {Digest.of(other)}"):
        take(store, GZIP, tar=other)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        pytest.param(GZIP[:-1], f"{len(GZIP) - 1} bytes came; its descriptor gives {len(GZIP)}", id="case_051-one-byte-less"),
        pytest.param(GZIP + b"\0", f"more bytes came than the {len(GZIP)}", id="case_054-one-byte-more"),
        pytest.param(GZIP[:-8] + b"1" + GZIP[-7:], "the bytes that came have the digest sha256:", id="case_054-digest"),
        pytest.param(b"<html>" + GZIP[6:], "the bytes that came have the digest sha256:", id="case_054-not-even-gzip"),
        pytest.param(b"", f"0 bytes came; its descriptor gives {len(GZIP)}", id="case_051-nothing"),
    ],
)  # fmt: skip
def test_blob_that_is_not_the_descriptors(store: Store, blob: bytes, message: str) -> None:
    """What came is to blame, not what it decodes to."""
    descriptor = Descriptor(MEDIA_TYPE, Digest.of(GZIP), len(GZIP))
    with pytest.raises(BuildError, match=f"^layer {descriptor.digest}: {message}"):
        ingest(store, descriptor, DIFF_ID, iter([blob[:1000], blob[1000:]]))
    assert kept(store) == ["lock"]


def test_tar_that_is_not_sound_is_not_kept(store: Store) -> None:
    tar = archive(member(b"f", chksum=b"000000\0 "))
    with pytest.raises(BuildError, match=r"^layer sha256:[0-9a-f]{64}: entry '/f' at byte 0 of the tar: .*checksum"):
        take(store, gzip.compress(tar), tar=tar)
    assert kept(store) == ["lock"]


def test_error_of_the_transport_passes_through(store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield GZIP[:1000]
        raise BuildError("the connection was lost")

    with pytest.raises(BuildError, match="the connection was lost"):
        ingest(store, Descriptor(MEDIA_TYPE, Digest.of(GZIP), len(GZIP)), DIFF_ID, broken())
    assert kept(store) == ["lock"]


def test_sha512(store: Store) -> None:
    blob, diff_id = (Digest("sha512", hashlib.sha512(data).hexdigest()) for data in (GZIP, TAR))
    layer = ingest(store, Descriptor(MEDIA_TYPE, blob, len(GZIP)), diff_id, [GZIP])
    assert layer.diff_id == diff_id
    assert (store.folder / "layers" / "sha512" / diff_id.hex / "tar").read_bytes() == TAR
    wrong = Digest("sha512", "0" * 128)
    with pytest.raises(BuildError, match="have the digest sha512:"):
        ingest(store, Descriptor(MEDIA_TYPE, wrong, len(GZIP)), diff_id, [GZIP])


def bomb_gzip(size: int) -> bytes:
    return gzip.compress(bytes(size), 9)


@pytest.mark.parametrize("compress", [bomb_gzip, lambda size: zstd_streamed(bytes(size))])
def test_case_047_bomb(store: Store, compress: object) -> None:
    blob = compress(64 << 20)  # type: ignore[operator]
    assert len(blob) < 100_000
    descriptor = Descriptor(MEDIA_TYPE, Digest.of(blob), len(blob))
    with pytest.raises(
        BuildError, match=f"layer {descriptor.digest}: it decompresses to more than 1000000 bytes"
    ) as caught:
        ingest(store, descriptor, DIFF_ID, [blob], limits=Limits(max_size=1_000_000))
    assert "FLEDGE_MAX_LAYER_SIZE" in (caught.value.hint or "")
    assert kept(store) == ["lock"]


def test_case_047_limit_is_exact(store: Store) -> None:
    take(store, GZIP, limits=Limits(max_size=len(TAR)))
    with pytest.raises(BuildError, match=f"more than {len(TAR) - 1} bytes"):
        take(store, GZIP, limits=Limits(max_size=len(TAR) - 1))


def test_case_047_disk_is_not_filled(store: Store) -> None:
    tar = archive(member(b"zeros", bytes(65 << 20)))
    with pytest.raises(BuildError, match="bytes are left on the filesystem"):
        take(store, zstd(tar), tar=tar, limits=Limits(min_free=1 << 60))
    assert kept(store) == ["lock"]


def test_case_047_limit_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEDGE_MAX_LAYER_SIZE", "100K")
    with pytest.raises(BuildError, match="more than 102400 bytes"):
        take(store, GZIP)
    monkeypatch.setenv("FLEDGE_MAX_LAYER_SIZE", "1M")
    take(store, GZIP)
    monkeypatch.setenv("FLEDGE_MAX_LAYER_SIZE", "lots")
    with pytest.raises(UsageError, match="FLEDGE_MAX_LAYER_SIZE: malformed size 'lots'"):
        take(store, GZIP)
    assert Limits.from_environ({}) == Limits()


def test_case_089_full_disk(tmp_path: Path) -> None:
    oracles.need_root()
    folder = tmp_path / "small"
    folder.mkdir()
    oracles.run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder)
    try:
        store = Store(folder / "store")
        with pytest.raises(BuildError, match=r"layer sha256:.*: can't write to .*No space left") as caught:
            take(store, GZIP)
        assert "FLEDGE_CACHE_DIR" in (caught.value.hint or "")
        assert kept(store) == ["lock"]
    finally:
        os.close(store._lock)
        oracles.run("umount", folder)


def test_stage_counts_the_bytes_of_the_blob(store: Store) -> None:
    stage = Stage("layer", len(GZIP))
    take(store, GZIP, stage=stage)
    assert stage.done == len(GZIP)


def test_case_091_the_same_layer_several_times_at_once(store: Store) -> None:
    stores = [store, Store(store.folder), Store(store.folder)]
    with ThreadPoolExecutor(6) as pool:
        layers = list(pool.map(lambda number: take(stores[number % 3], GZIP), range(24)))
    for layer in layers:
        assert bytes(layer.source.view(0, layer.source.size)) == TAR
    assert find_layer(store, DIFF_ID) is not None
    assert len(kept(store)) == 3


def test_found_again(store: Store) -> None:
    assert find_layer(store, DIFF_ID) is None
    new = take(store, GZIP)
    found = find_layer(Store(store.folder), DIFF_ID)
    assert found is not None
    assert found.diff_id == DIFF_ID
    assert found.index.paths == new.index.paths
    assert list(found.index.records()) == list(new.index.records())
    file = merge([found], 0).entries[b"zeros"]
    assert file.content.read() == bytes(500_000)  # type: ignore[attr-defined]


def test_layers_without_entries_are_found(store: Store) -> None:
    for tar in (b"", bytes(512), bytes(1024), archive(header(b"./", b"5")), archive(header(b"s", b"2", link=b"t"))):
        new = add_layer(store, tar)
        found = find_layer(store, new.diff_id)
        assert found is not None
        assert (found.index.paths, found.index.targets) == (new.index.paths, new.index.targets)
        assert len(found.index) == len(list(found.index.records()))


@pytest.mark.parametrize("where", [0, 20, 30, 100, 200, 260, -1, -40])
def test_damaged_index_is_no_index(store: Store, where: int) -> None:
    path = store.layer_path(take(store, GZIP).diff_id) / "index"
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    assert find_layer(store, DIFF_ID) is None
    take(store, GZIP)
    assert find_layer(store, DIFF_ID) is not None


@pytest.mark.parametrize("damage", ["short", "long", "empty", "no-index", "no-tar", "cut-index"])
def test_half_a_layer_is_none(store: Store, damage: str) -> None:
    folder = store.layer_path(take(store, GZIP).diff_id)
    match damage:
        case "short":
            os.truncate(folder / "tar", len(TAR) - 1)
        case "long":
            os.truncate(folder / "tar", len(TAR) + 1)
        case "empty":
            os.truncate(folder / "tar", 0)
        case "no-index":
            (folder / "index").unlink()
        case "no-tar":
            (folder / "tar").unlink()
        case "cut-index":
            os.truncate(folder / "index", 300)
    assert find_layer(store, DIFF_ID) is None
