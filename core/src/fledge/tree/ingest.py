"""A layer's way into the store, in one pass: verified, decompressed, verified again, written and indexed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from fledge.atomic import PartFile
from fledge.errors import BuildError, UsageError
from fledge.image.descriptor import Descriptor
from fledge.progress import Stage
from fledge.store import Store
from fledge.tree.ahead import Ahead
from fledge.tree.content import FileSource
from fledge.tree.decompress import decompress
from fledge.tree.layer import INDEX, TAR, Layer
from fledge.tree.tar import TarReader
from fledge.values import ByteSize, Digest

_MAX_SIZE_VARIABLE: Final = "FLEDGE_MAX_LAYER_SIZE"
_CHECK_FREE_EVERY: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a layer may take: a gzip bomb grows a thousandfold, a zstd bomb thirty thousandfold.

    `max_size`: of the decompressed tar, in bytes. `min_free`: what must stay free on the store's filesystem.
    """

    max_size: int = 64 << 30
    min_free: int = 128 << 20

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """`FLEDGE_MAX_LAYER_SIZE`, or the default. Raises UsageError where it is not a size."""
        text = environ.get(_MAX_SIZE_VARIABLE)
        if not text:
            return cls()
        try:
            return cls(max_size=ByteSize.parse(text))
        except ValueError as error:
            raise UsageError(f"{_MAX_SIZE_VARIABLE}: {error}") from None


def ingest(
    store: Store,
    descriptor: Descriptor,
    diff_id: Digest,
    chunks: Iterable[bytes],
    *,
    stage: Stage | None = None,
    limits: Limits | None = None,
) -> Layer:
    """Reads the layer's blob from `chunks` into the store. `stage` counts the blob's bytes.

    Safe to call for several layers, and for one layer several times, at once. Without `limits` the environment's hold.

    Raises BuildError, and keeps nothing, where the blob is not the descriptor's, the tar not the `diff_id`'s or not
    sound, a limit is met, or the store can't be written.
    """
    label = f"layer {descriptor.digest}"
    limits = limits or Limits.from_environ(os.environ)
    with store.part(diff_id.hex[:16]) as tar:
        # Three stages side by side: receive and hash, decompress, hash and write and index.
        with Ahead(_verified(chunks, descriptor, label, stage)) as blob:
            try:
                with Ahead(_started(blob, label)) as blocks:
                    reader, size = _take(blocks, tar, diff_id, label, limits)
            except BuildError:
                # Damage in transit is what made most streams undecodable, and says more than how it shows.
                for _ in blob:
                    pass
                raise
        index = reader.finish()
        data = index.dump(diff_id, size)
        place = ("layers", diff_id.algorithm, diff_id.hex)
        source = FileSource(store.keep(tar, *place, TAR))
    # Last, because a layer is there when its index is.
    store.put(data, *place, INDEX)
    return Layer(diff_id, source, index)


def _started(blob: Iterator[bytes], label: str) -> Iterator[bytes]:
    # decompress() looks at the first bytes when it is called; that, too, belongs into the thread.
    yield from decompress(blob, label)


def _verified(chunks: Iterable[bytes], descriptor: Descriptor, label: str, stage: Stage | None) -> Iterator[bytes]:
    digest = hashlib.new(descriptor.digest.algorithm, usedforsecurity=False)
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > descriptor.size:
            raise BuildError(f"{label}: more bytes came than the {descriptor.size} that its descriptor gives")
        digest.update(chunk)
        if stage is not None:
            stage.advance(len(chunk))
        yield chunk
    if size != descriptor.size:
        raise BuildError(f"{label}: {size} bytes came; its descriptor gives {descriptor.size}")
    if digest.hexdigest() != descriptor.digest.hex:
        raise BuildError(
            f"{label}: the bytes that came have the digest {descriptor.digest.algorithm}:{digest.hexdigest()}"
        )


def _take(blocks: Iterable[bytes], tar: PartFile, diff_id: Digest, label: str, limits: Limits) -> tuple[TarReader, int]:
    reader = TarReader(label)
    digest = hashlib.new(diff_id.algorithm, usedforsecurity=False)
    size = 0
    unchecked = 0
    for block in blocks:
        size += len(block)
        unchecked += len(block)
        if size > limits.max_size:
            raise BuildError(
                f"{label}: it decompresses to more than {limits.max_size} bytes",
                hint=f"set {_MAX_SIZE_VARIABLE} to allow more, such as 256G",
            )
        try:
            if unchecked >= _CHECK_FREE_EVERY:
                unchecked = 0
                _check_free(tar, label, limits)
            _write(tar.fd, block)
        except OSError as error:
            raise BuildError(
                f"{label}: can't write to {tar.path.parent}: {error.strerror}",
                hint="free some space, or set FLEDGE_CACHE_DIR to a folder elsewhere",
            ) from error
        digest.update(block)
        reader.feed(block)
    if digest.hexdigest() != diff_id.hex:
        raise BuildError(
            f"{label}: it decompresses to {diff_id.algorithm}:{digest.hexdigest()}; the image's config says {diff_id}"
        )
    return reader, size


def _check_free(tar: PartFile, label: str, limits: Limits) -> None:
    status = os.fstatvfs(tar.fd)
    free = status.f_bavail * status.f_frsize
    if free < limits.min_free:
        raise BuildError(
            f"{label}: only {free} bytes are left on the filesystem of {tar.path.parent}; {limits.min_free} stay free",
            hint="free some space, or set FLEDGE_CACHE_DIR to a folder elsewhere",
        )


def _write(fd: int, block: bytes) -> None:
    done = os.write(fd, block)
    while done < len(block):
        done += os.write(fd, memoryview(block)[done:])
