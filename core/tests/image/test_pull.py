from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.access import BlobNotFoundError, ImageNotFoundError
from fledge.image.descriptor import Descriptor
from fledge.image.documents import OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from fledge.image.pull import MAX_DOCUMENTS, PARALLEL, pull
from fledge.sources import ImageReference, ImageRequest, ImageSource
from fledge.testing.builds import context
from fledge.testing.images import Blobs, Json, gzipped, tar
from fledge.values import Digest, Platform

ONE = tar({"etc/one": b"1" * 5000})
TWO = tar({"etc/two": b"2"})
EMPTY = bytes(1024)


class Shelf:
    """An image on a shelf in memory."""

    def __init__(self, blobs: Blobs, top: Json, resolves: bool = True) -> None:
        self.blobs = blobs.by_digest
        self.top = top
        self.resolves = resolves
        self.asked: list[str] = []

    def resolve(self) -> Digest | None:
        return Digest.parse(self.top["digest"]) if self.resolves else None

    def manifest(self, digest: Digest | None) -> tuple[str | None, bytes]:
        return None, self._find(str(digest or self.top["digest"]))

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        data = self._find(str(descriptor.digest))
        yield from (data[at : at + 1000] for at in range(0, len(data), 1000))

    def _find(self, digest: str) -> bytes:
        self.asked.append(digest)
        if digest not in self.blobs:
            raise BlobNotFoundError(f"no blob {digest}")
        return self.blobs[digest]


@pytest.fixture
def build(tmp_path: Path) -> BuildContext:
    return context(tmp_path / "cache")


def fetch(build: BuildContext, shelf: Shelf, platform: str = "linux/amd64") -> ImageSource:
    return pull(shelf, ImageRequest(ImageReference("shelf", "x"), Platform.parse(platform)), build)


def names(image: ImageSource) -> list[list[bytes]]:
    return [layer.index.paths for layer in image.layers]


@pytest.mark.parametrize("resolves", [True, False])
def test_a_pull_and_a_second_one(build: BuildContext, resolves: bool) -> None:
    blobs = Blobs()
    shelf = Shelf(blobs, blobs.image(ONE, TWO, config={"Cmd": ["x"]}), resolves)
    image = fetch(build, shelf)
    assert image.config.cmd == ("x",)
    assert str(image.digest) == shelf.top["digest"]
    assert names(image) == [[b"etc/one"], [b"etc/two"]]
    assert len(shelf.asked) == len(blobs.by_digest) == 4
    shelf.asked.clear()
    again = fetch(build, shelf)
    assert (again.config, again.digest, names(again)) == (image.config, image.digest, names(image))
    assert shelf.asked == ([] if resolves else [shelf.top["digest"]])


def test_a_layer_that_the_store_has_from_another_image_is_not_fetched(build: BuildContext) -> None:
    blobs = Blobs()
    fetch(build, Shelf(blobs, blobs.image(ONE)))
    other = Blobs()
    # The same tar, compressed otherwise: it is the diff_id that counts.
    shelf = Shelf(other, other.image(ONE, TWO, compress=lambda data: gzip.compress(data, 9)))
    assert names(fetch(build, shelf)) == [[b"etc/one"], [b"etc/two"]]
    assert len(shelf.asked) == 3


def test_case_066_platform_of_an_index(build: BuildContext) -> None:
    blobs = Blobs()
    arm, amd = blobs.image(ONE, platform="linux/arm64/v8"), blobs.image(TWO)
    shelf = Shelf(blobs, blobs.index(arm, amd))
    assert names(fetch(build, shelf)) == [[b"etc/two"]]
    assert names(fetch(build, shelf, "linux/arm64")) == [[b"etc/one"]]
    with pytest.raises(ImageNotFoundError, match=r"linux/riscv64; it has: linux/arm64/v8, linux/amd64$"):
        fetch(build, shelf, "linux/riscv64")


def test_case_066_platform_of_a_single_image(build: BuildContext) -> None:
    blobs = Blobs()
    with pytest.raises(ImageNotFoundError, match=r"no image for linux/arm64; it has: linux/amd64$"):
        fetch(build, Shelf(blobs, blobs.image(ONE)), "linux/arm64")


def test_case_066_nested_index(build: BuildContext) -> None:
    blobs = Blobs()
    amd, arm = blobs.image(ONE), blobs.image(TWO, platform="linux/arm64")
    top = blobs.index(blobs.index(blobs.index(arm)), blobs.index(amd))
    shelf = Shelf(blobs, top)
    assert names(fetch(build, shelf)) == [[b"etc/one"]]
    with pytest.raises(ImageNotFoundError, match="it has: linux/arm64, linux/amd64"):
        fetch(build, shelf, "linux/s390x")


def test_case_066_an_index_without_platforms(build: BuildContext) -> None:
    blobs = Blobs()
    entries = [blobs.image(TWO, platform="linux/arm64"), blobs.image(ONE)]
    for entry in entries:
        del entry["platform"]
    shelf = Shelf(blobs, blobs.index(*entries))
    assert names(fetch(build, shelf)) == [[b"etc/one"]]


def test_case_066_attestations_are_not_images(build: BuildContext) -> None:
    blobs = Blobs()
    attestation = {**blobs.image(TWO), "platform": {"os": "unknown", "architecture": "unknown"}}
    assert names(fetch(build, Shelf(blobs, blobs.index(attestation, blobs.image(ONE))))) == [[b"etc/one"]]


def test_case_066_cyclic_index(build: BuildContext) -> None:
    # A document can't have its own digest in it; a transport can only pretend, and is found out.
    blobs = Blobs()
    inner = blobs.index(blobs.image(ONE, platform="linux/arm64"))
    outer = blobs.index(inner)
    blobs.by_digest[inner["digest"]] = blobs.by_digest[outer["digest"]]
    with pytest.raises(BuildError, match=f"has the digest {outer['digest']}; it must be {inner['digest']}"):
        fetch(build, Shelf(blobs, outer))


def test_case_066_one_index_many_times_over_is_read_once(build: BuildContext) -> None:
    blobs = Blobs()
    top = blobs.index(blobs.image(ONE, platform="linux/arm64"))
    for _ in range(30):
        top = blobs.index(*[top] * 50)
    shelf = Shelf(blobs, top)
    with pytest.raises(ImageNotFoundError, match="it has: linux/arm64"):
        fetch(build, shelf)
    assert len(shelf.asked) == 31


def test_case_066_endless_indexes(build: BuildContext) -> None:
    blobs = Blobs()
    top = blobs.index(blobs.image(ONE))
    for _ in range(MAX_DOCUMENTS):
        top = blobs.index(top)
    with pytest.raises(BuildError, match=f"an index of more than {MAX_DOCUMENTS} documents"):
        fetch(build, Shelf(blobs, top))


def test_case_066_empty_layers_no_layers_and_the_same_layer_twice(build: BuildContext) -> None:
    blobs = Blobs()
    shelf = Shelf(blobs, blobs.image(EMPTY, ONE, EMPTY, ONE))
    assert names(fetch(build, shelf)) == [[], [b"etc/one"], [], [b"etc/one"]]
    assert len(shelf.asked) == 4
    assert names(fetch(build, Shelf(blobs, blobs.image()))) == []


def test_case_066_sha512(build: BuildContext) -> None:
    blobs = Blobs("sha512")
    shelf = Shelf(blobs, blobs.index(blobs.image(ONE)))
    assert names(fetch(build, shelf)) == [[b"etc/one"]]
    shelf.asked.clear()
    fetch(build, shelf)
    assert shelf.asked == []


def test_case_066_embedded_data(build: BuildContext) -> None:
    blobs = Blobs()
    blob = gzipped(ONE)
    layer = blobs.add(blob, f"{OCI_LAYER}+gzip", data=base64.b64encode(blob).decode())
    config = blobs.config([f"sha256:{hashlib.sha256(ONE).hexdigest()}"])
    config["data"] = base64.b64encode(blobs.by_digest[config["digest"]]).decode()
    shelf = Shelf(blobs, blobs.manifest(config, [layer]))
    del blobs.by_digest[layer["digest"]], blobs.by_digest[config["digest"]]
    assert names(fetch(build, shelf)) == [[b"etc/one"]]


def foreign(blobs: Blobs) -> tuple[Json, Json]:
    layer = blobs.add(
        gzipped(ONE),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        urls=["http://127.0.0.1:1/layer"],
    )
    return blobs.manifest(blobs.config([f"sha256:{hashlib.sha256(ONE).hexdigest()}"]), [layer]), layer


def test_case_064_a_foreign_layer_that_the_registry_has(build: BuildContext) -> None:
    blobs = Blobs()
    top, _ = foreign(blobs)
    assert names(fetch(build, Shelf(blobs, top))) == [[b"etc/one"]]


def test_case_064_a_foreign_layer_is_not_fetched_from_its_urls(build: BuildContext) -> None:
    blobs = Blobs()
    top, layer = foreign(blobs)
    del blobs.by_digest[layer["digest"]]
    with pytest.raises(BuildError, match=r"is foreign .* and the registry does not have it"):
        fetch(build, Shelf(blobs, top))


def nothing_kept(build: BuildContext, digest: str) -> bool:
    folder = build.store.folder
    return not list(folder.glob("tmp/.*")) and not list(folder.rglob(digest.partition(":")[2]))


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("change", [b"", b"x"])
def test_case_054_nothing_with_another_digest_or_size_is_kept(build: BuildContext, which: str, change: bytes) -> None:
    blobs = Blobs()
    top = blobs.image(ONE)
    document: dict[str, Any] = json.loads(blobs.by_digest[top["digest"]])
    digest = {
        "manifest": top["digest"],
        "config": document["config"]["digest"],
        "layer": document["layers"][0]["digest"],
    }[which]
    good = blobs.by_digest[digest]
    blobs.by_digest[digest] = good + change if change else good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(BuildError, match=r"digest|bytes"):
        fetch(build, Shelf(blobs, top))
    assert nothing_kept(build, digest)
    blobs.by_digest[digest] = good
    assert names(fetch(build, Shelf(blobs, top))) == [[b"etc/one"]]


def test_case_057_wrong_diff_id(build: BuildContext) -> None:
    blobs = Blobs()
    layer = blobs.add(gzipped(ONE), f"{OCI_LAYER}+gzip")
    top = blobs.manifest(blobs.config([f"sha256:{'0' * 64}"]), [layer])
    with pytest.raises(BuildError, match=f"the image's config says sha256:{'0' * 64}"):
        fetch(build, Shelf(blobs, top))
    assert nothing_kept(build, f"sha256:{'0' * 64}")


def test_case_054_an_index_entry_with_another_size(build: BuildContext) -> None:
    blobs = Blobs()
    entry = blobs.image(ONE)
    entry["size"] += 1
    with pytest.raises(BuildError, match="are announced"):
        fetch(build, Shelf(blobs, blobs.index(entry)))


def test_case_062_an_index_entry_with_another_media_type(build: BuildContext) -> None:
    blobs = Blobs()
    entry = {**blobs.image(ONE), "mediaType": OCI_INDEX}
    with pytest.raises(BuildError, match=f"'{OCI_MANIFEST}' is not what it was announced as".replace("+", r"\+")):
        fetch(build, Shelf(blobs, blobs.index(entry)))


def test_case_063_a_config_over_4_mib(build: BuildContext) -> None:
    blobs = Blobs()
    config = blobs.config([], author="x" * (4 << 20))
    with pytest.raises(BuildError, match="at most 4 MiB are allowed"):
        fetch(build, Shelf(blobs, blobs.manifest(config, [])))


def test_a_blob_that_went_bad_in_the_store_is_fetched_anew(build: BuildContext) -> None:
    blobs = Blobs()
    shelf = Shelf(blobs, blobs.image(ONE))
    image = fetch(build, shelf)
    build.store.blob_path(image.digest).write_bytes(b"{}")
    shelf.asked.clear()
    assert fetch(build, shelf).digest == image.digest
    assert shelf.asked == [str(image.digest)]


def test_layers_come_side_by_side_and_stop_when_one_fails(build: BuildContext) -> None:
    blobs = Blobs()
    tars = [tar({f"f{i}": bytes([i]) * 3000}) for i in range(PARALLEL)]
    top = blobs.image(*tars, compress=bytes)
    together = threading.Barrier(PARALLEL, timeout=20)
    ended = threading.Semaphore(0)

    class Slow(Shelf):
        def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
            if descriptor.media_type != f"{OCI_LAYER}+gzip":
                yield from super().blob(descriptor)
                return
            if together.wait() == 0:
                raise BuildError("the line is cut")
            try:
                while True:  # Only a failure elsewhere ends it.
                    yield b""
            finally:
                ended.release()

    with pytest.raises(BuildError, match="the line is cut"):
        fetch(build, Slow(blobs, top))
    for _ in range(PARALLEL - 1):
        assert ended.acquire(timeout=1)
    assert not list(build.store.folder.glob("tmp/.*"))
