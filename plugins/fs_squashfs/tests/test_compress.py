"""The compressors, in the form that the kernel's decompressors take."""

from __future__ import annotations

import lzma
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from fledge.errors import BuildError
from fledge.testing.trees import data
from fledge_fs_squashfs.compress import Codec, Gzip, Xz, codec
from fledge_fs_squashfs.zstd import TUNED, Zstd

BLOCK = 128 << 10
CODECS: list[Codec] = [Zstd(1), Zstd(), Zstd(22), Xz(0), Xz(), Gzip(1), Gzip()]


def blocks() -> list[bytes]:
    """Of a program and of text."""
    program = Path(os.path.realpath("/bin/bash")).read_bytes()
    text = Path(os.__file__).read_bytes() + Path(zlib.__file__ or os.__file__).read_bytes()
    return [program[at : at + BLOCK] for at in range(0, len(program) - BLOCK, BLOCK)] + [text[:BLOCK]]


@pytest.mark.parametrize("which", CODECS, ids=lambda which: which.identity)
@pytest.mark.parametrize("size", [1, 100, 8192, 100_000, BLOCK])
def test_what_is_compressed_comes_back(which, size):
    plain = (b"some text, and again some text %d " % size * (size // 30 + 1))[:size]
    compressed = which.compress(plain)
    if compressed is None:
        assert size < 100
    else:
        assert len(compressed) < size
        assert which.decompress(compressed, size) == plain


@pytest.mark.parametrize("which", CODECS, ids=lambda which: which.identity)
@pytest.mark.parametrize("size", [1, 100, 8192, BLOCK])
def test_what_does_not_compress_is_left(which, size):
    assert which.compress(data(size, size)) is None


@pytest.mark.parametrize("which", [Zstd(), Xz(), Gzip()], ids=lambda which: which.name)
def test_more_than_a_block_is_refused(which):
    bomb = which.compress(bytes(BLOCK))
    assert bomb is not None
    with pytest.raises(BuildError, match="its data is corrupt"):
        which.decompress(bomb, BLOCK - 1)


@pytest.mark.parametrize("which", [Zstd(), Xz(), Gzip()], ids=lambda which: which.name)
def test_half_a_block_is_refused(which):
    whole = which.compress(b"%d" % 2**9000 * 3)
    assert whole is not None
    with pytest.raises(BuildError, match="its data is corrupt"):
        which.decompress(whole[: len(whole) // 2], BLOCK)


@pytest.mark.parametrize("level", [1, 14, 15, 22])
@pytest.mark.parametrize("block_size", [4096, BLOCK, 1 << 20])
def test_zstd_frames_say_their_size_and_need_no_more_than_the_block(level, block_size):
    frame = Zstd(level, block_size).compress((b"line %d\n" % level * block_size)[:block_size])
    assert frame is not None
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == block_size
    assert parameters.window_size <= block_size
    assert not parameters.has_checksum


def test_xz_streams_have_crc32_and_a_dictionary_of_one_block():
    stream = codec("xz", 6, 4096).compress(bytes(4096))
    assert stream is not None
    decompressor = lzma.LZMADecompressor(memlimit=1 << 20)
    assert decompressor.decompress(stream) == bytes(4096)
    assert decompressor.check == lzma.CHECK_CRC32


def test_tuned_levels_stay_in_their_order_and_near_zstd():
    sizes = {}
    for level in (13, 14, 15, 16):
        compress = Zstd(level, BLOCK).compress
        sizes[level] = sum(len(compress(block) or block) for block in blocks())
    plain = sum(len(zstandard.ZstdCompressor(15).compress(block)) for block in blocks())
    assert set(TUNED) == {14, 15}
    assert sizes[13] > sizes[14] > sizes[15] > sizes[16]
    assert sizes[15] < plain * 1.02


@pytest.mark.parametrize(
    ("which", "options"),
    [(Zstd(), b""), (Zstd(3), b"\3\0\0\0"), (Xz(), b""), (Gzip(), b""), (Gzip(1), b"\1\0\0\0\x0f\0\0\0")],
    ids=lambda value: getattr(value, "identity", ""),
)
def test_options_are_stored_unless_they_are_the_defaults(which, options):
    assert which.options == options


def test_threads_share_a_codec():
    which = Zstd()
    with ThreadPoolExecutor(4) as pool:
        compressed = list(pool.map(which.compress, blocks() * 2))
    assert compressed == [Zstd().compress(block) for block in blocks()] * 2
