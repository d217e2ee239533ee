"""Layer blobs decompressed as they come: gzip, zstd or none, in blocks of bounded size.

The magic decides, not the media type: archives made by `docker save` call plain tars gzip, and container engines go
by the magic too. The diff_id shows in the end that it was right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fledge.errors import BuildError

BLOCK: Final = 1 << 19
"""At most this much at once, however well it is compressed."""

_INPUT: Final = 1 << 17
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"
_UNSUPPORTED: Final = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x04\x22\x4d\x18": "lz4", b"LZIP": "lzip"}
_MAGIC_LENGTH: Final = 6
_MAX_WINDOW: Final = 1 << 27
"""What the zstd program decompresses without being told to use more memory."""


def decompress(chunks: Iterator[bytes], label: str) -> Iterator[bytes]:
    """The tar's bytes. Raises BuildError, with `label`, for a stream that is damaged or compressed otherwise."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _MAGIC_LENGTH:
            break
    pieces = _pieces(head, chunks)
    if head.startswith(_GZIP):
        return _gunzip(pieces, label)
    # A skippable frame can stand first; zstd:chunked and pzstd write such.
    if head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F):
        return _unzstd(pieces, label)
    for magic, name in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise BuildError(f"{label}: it is compressed with {name}; gzip, zstd and none are supported")
    return pieces


def _pieces(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from _split(head)
    for chunk in chunks:
        yield from _split(chunk)


def _split(chunk: bytes) -> Iterator[bytes]:
    # The decompressors copy what they could not use yet, so a big piece would be copied again and again.
    view = memoryview(chunk)
    for at in range(0, len(view), _INPUT):
        yield bytes(view[at : at + _INPUT])


def _gunzip(pieces: Iterator[bytes], label: str) -> Iterator[bytes]:
    from isal import igzip_lib

    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    began = False
    try:
        for piece in pieces:
            data = piece
            while True:
                if decompressor.eof:
                    # Members follow each other (RFC 1952, 2.2); gzip and its kin pass over zeros after the last.
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    if not data.startswith(_GZIP[: len(data)]):
                        raise BuildError(f"{label}: something that is not gzip follows the gzip stream")
                    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
                block = decompressor.decompress(data, BLOCK)
                began = True
                if block:
                    yield block
                if decompressor.eof:
                    data = decompressor.unused_data
                elif decompressor.needs_input:
                    break
                else:
                    data = b""
    except igzip_lib.IsalError as error:  # type: ignore[misc]
        raise BuildError(f"{label}: the gzip stream is damaged: {error}") from None
    if began and not decompressor.eof:
        raise BuildError(f"{label}: the gzip stream is cut short")


class _Reader:
    """What zstandard wants to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int = -1) -> bytes:
        return next(self._pieces, b"")


# Bounded memory is had only from stream_reader, which does not tell the end of the last frame from a cut; the diff_id
# does.
def _unzstd(pieces: Iterator[bytes], label: str) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = decompressor.stream_reader(_Reader(pieces), read_size=_INPUT, read_across_frames=True)  # type: ignore[arg-type]
    try:
        while block := reader.read(BLOCK):
            yield block
    except zstandard.ZstdError as error:
        raise BuildError(f"{label}: the zstd stream is damaged: {error}") from None
