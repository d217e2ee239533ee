"""The pull: index, manifest, config, layers; each verified against the digest that led to it.

Documents stay in the store, so that a second build asks the transport at most which digest a tag has by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Final

from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.access import BlobNotFoundError, ImageAccess, ImageNotFoundError
from fledge.image.config import ImageConfig
from fledge.image.descriptor import Descriptor, check_digest
from fledge.image.documents import INDEXES, MANIFESTS, Index, IndexEntry, Manifest, is_foreign, parse_document
from fledge.image.fields import DOCUMENT_LIMIT
from fledge.image.parse_config import parse_config
from fledge.image.platforms import best_match, listing, runs_on, same_architecture
from fledge.sources import ImageRequest, ImageSource
from fledge.tree.layer import Layer
from fledge.values import Digest, Platform

PARALLEL: Final = 4
"""Layers fetched at once: enough to fill a line, and no more than registries take from one client."""
MAX_DOCUMENTS: Final = 64
"""Manifests and indexes read for one image. Real ones need two or three; a hostile one can have any number."""

Blobs = Callable[[Descriptor], Iterator[bytes]]


def pull(access: ImageAccess, request: ImageRequest, context: BuildContext) -> ImageSource:
    """Fetches what the store does not have, and gives the image for the request's platform.

    Raises ImageNotFoundError, or BuildError when anything is not what its digest, size or media type promises.
    """
    name = str(request.reference)
    digest, manifest, config = _choose(_Documents(access, context, name), request.platform)
    layers = pull_layers(context, name, manifest.layers, config.diff_ids, access.blob)
    return ImageSource(request.reference, digest, config, layers)


def pull_layers(
    context: BuildContext, name: str, descriptors: Sequence[Descriptor], diff_ids: Sequence[Digest], blobs: Blobs
) -> tuple[Layer, ...]:
    """The layers, lowest first; those that are not in the store are fetched side by side, each once.

    `name`: the image, for messages. Raises the BuildError of the first layer that fails; the others are stopped.
    """
    from fledge.tree.ingest import ingest
    from fledge.tree.layer import find_layer

    known = {diff_id: find_layer(context.store, diff_id) for diff_id in dict.fromkeys(diff_ids)}
    missing = {
        diff_id: descriptor for descriptor, diff_id in zip(descriptors, diff_ids, strict=True) if known[diff_id] is None
    }
    stop = threading.Event()

    def fetch(diff_id: Digest, descriptor: Descriptor) -> Layer:
        with context.progress.stage(f"layer {descriptor.digest.hex[:12]}", total=descriptor.size) as stage:
            chunks = _until(stop, _layer_chunks(name, descriptor, blobs))
            return ingest(context.store, descriptor, diff_id, chunks, stage=stage)

    if missing:
        # The largest first: it is the one that the others would have to wait for.
        order = sorted(missing.items(), key=lambda item: -item[1].size)
        with ThreadPoolExecutor(min(PARALLEL, len(order)), thread_name_prefix="fledge-layer") as pool:
            futures = {pool.submit(fetch, diff_id, descriptor): diff_id for diff_id, descriptor in order}
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future, diff_id in futures.items():
                    if future in done:
                        known[diff_id] = future.result()
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
    layers = tuple(known[diff_id] for diff_id in diff_ids)
    context.progress.debug(f"{name}: {len(layers)} layers, {len(missing)} of them fetched")
    return tuple(layer for layer in layers if layer is not None)


class _StoppedError(BuildError):
    """Another layer has failed; that one's error is the one to show."""


def _until(stop: threading.Event, chunks: Generator[bytes, None, None]) -> Iterator[bytes]:
    with closing(chunks):  # At once: behind it a connection is open.
        for chunk in chunks:
            if stop.is_set():
                raise _StoppedError("stopped because another layer failed")
            yield chunk


def _layer_chunks(name: str, descriptor: Descriptor, blobs: Blobs) -> Generator[bytes, None, None]:
    if descriptor.data is not None:
        yield descriptor.data
        return
    try:
        yield from blobs(descriptor)
    except BlobNotFoundError as error:
        if not is_foreign(descriptor):
            raise
        # Descriptors may name URLs to fetch such a layer from. Whoever wrote the manifest would choose where this
        # machine connects to, so they are never followed.
        raise BuildError(
            f"{name}: layer {descriptor.digest} is foreign ({descriptor.media_type}), and the registry does not have it",
            hint="push the image with its foreign layers: 'allow-nondistributable-artifacts' of the Docker daemon",
        ) from error


class _Documents:
    """The image's JSON documents: from the store, else through the transport, verified and kept."""

    def __init__(self, access: ImageAccess, context: BuildContext, name: str) -> None:
        self.name = name
        self._access = access
        self._store = context.store

    def top(self) -> tuple[Digest, Manifest | Index]:
        """What the reference names, and its digest."""
        digest = self._access.resolve()
        if digest is not None:
            return digest, self._document(digest, None)
        media_type, data = self._access.manifest(None)
        digest = Digest.of(data)
        document = parse_document(data, media_type, f"{self.name}: manifest {digest}")
        self._store.put_blob(digest, data)
        return digest, document

    def read(self, descriptor: Descriptor) -> Manifest | Index:
        """What an index's entry points at."""
        return self._document(descriptor.digest, descriptor)

    def config(self, manifest: Manifest, wanted: Platform) -> ImageConfig:
        """The manifest's config."""
        descriptor = manifest.config
        what = f"{self.name}: config {descriptor.digest}"
        if descriptor.size > DOCUMENT_LIMIT:
            raise BuildError(f"{what} is {descriptor.size} bytes; at most {DOCUMENT_LIMIT >> 20} MiB are allowed")
        data = descriptor.data or self._store.read_blob(descriptor.digest, DOCUMENT_LIMIT)
        if data is None:
            data = descriptor.check(_gather(self._access.blob(descriptor), DOCUMENT_LIMIT), what)
            self._store.put_blob(descriptor.digest, data)
        return parse_config(data, what, wanted, len(manifest.layers))

    def _document(self, digest: Digest, descriptor: Descriptor | None) -> Manifest | Index:
        what = f"{self.name}: manifest {digest}"
        media_type = descriptor.media_type if descriptor is not None else None
        data = descriptor.data if descriptor is not None else None
        if data is None:
            data = self._store.read_blob(digest, DOCUMENT_LIMIT)
        if data is not None:
            return parse_document(data, media_type, what)
        told, data = self._access.manifest(digest)
        if len(data) <= DOCUMENT_LIMIT:  # A longer one is refused for its length, which tells more.
            check_digest(data, digest, what)
        document = parse_document(data, told, what)
        if descriptor is not None:
            descriptor.check(data, what)
            document = parse_document(data, media_type, what)
        self._store.put_blob(digest, data)
        return document


def _gather(chunks: Iterator[bytes], limit: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            break
    return bytes(data)


def _choose(documents: _Documents, wanted: Platform) -> tuple[Digest, Manifest, ImageConfig]:
    """Walks from the reference to the manifest and config for the platform."""
    digest, document = documents.top()
    seen = {digest}
    waiting: list[Descriptor] = []  # The most promising last.
    there: list[Platform] = []
    for _ in range(MAX_DOCUMENTS):
        if isinstance(document, Manifest):
            config = documents.config(document, wanted)
            if same_architecture(config.platform, wanted):
                return digest, document, config
            there.append(config.platform)
        else:
            there.extend(entry.platform for entry in document.entries if entry.platform is not None)
            # An index that is listed many times over is read once. (A cycle would need a document that has its own
            # digest in it.)
            new = {one.digest: one for one in _candidates(document.entries, wanted) if one.digest not in seen}
            seen.update(new)
            waiting.extend(reversed(new.values()))
        if not waiting:
            raise ImageNotFoundError(f"{documents.name} has no image for {wanted}; it has: {listing(there)}")
        descriptor = waiting.pop()
        digest, document = descriptor.digest, documents.read(descriptor)
    raise BuildError(f"{documents.name} is an index of more than {MAX_DOCUMENTS} documents without one for {wanted}")


def _candidates(entries: Sequence[IndexEntry], wanted: Platform) -> list[Descriptor]:
    """What to look at, the most promising first."""
    manifests = [entry for entry in entries if entry.descriptor.media_type in MANIFESTS]
    match = best_match(manifests, wanted)
    indexes = [
        entry
        for entry in entries
        if entry.descriptor.media_type in INDEXES and (entry.platform is None or runs_on(entry.platform, wanted))
    ]
    untold = [entry for entry in manifests if entry.platform is None]
    return [entry.descriptor for entry in (*([match] if match else []), *indexes, *untold)]
