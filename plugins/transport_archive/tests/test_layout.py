from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.testing.images import Blobs, Json, tar
from fledge.testing.oracles import need_tool, run

ONE = tar({"etc/one": b"1" * 5000})
TWO = tar({"etc/two": b"2"})


def paths(image: Any) -> list[list[bytes]]:
    return [layer.index.paths for layer in image.layers]


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


def archive(folder: Path) -> None:
    """The layout as an archive beside it, made by GNU tar."""
    subprocess.run(["tar", "-C", folder, "-cf", f"{folder}.tar", "."], check=True)


@pytest.fixture(params=["oci", "oci-archive"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Writes a layout in the form that is tested and returns the reference without its tag."""

    def write(blobs: Blobs, tops: dict[str, Json], change: Any = None) -> str:
        folder = blobs.layout(tmp_path / "layout", tops)
        if change is not None:
            change(folder)
        if request.param == "oci":
            return "oci:layout"
        archive(folder)
        return "oci-archive:layout.tar"

    return write


def test_tags(blobs: Blobs, layout: Any, fetch: Any) -> None:
    name = layout(blobs, {"1": blobs.image(ONE), "a/b:2": blobs.image(TWO, ONE)})
    assert paths(fetch(f"{name}:1")) == [[b"etc/one"]]
    assert paths(fetch(f"{name}:a/b:2")) == [[b"etc/two"], [b"etc/one"]]
    with pytest.raises(ImageNotFoundError, match=r"no image with the tag '3'; it has: 1, a/b:2$"):
        fetch(f"{name}:3")
    with pytest.raises(BuildError, match=r"has several images; it has: 1, a/b:2$"):
        fetch(name)


def test_the_only_image_needs_no_tag(blobs: Blobs, layout: Any, fetch: Any) -> None:
    assert paths(fetch(layout(blobs, {"1": blobs.image(ONE)}))) == [[b"etc/one"]]


def test_two_tags_of_one_image(blobs: Blobs, layout: Any, fetch: Any) -> None:
    top = blobs.image(ONE)
    assert paths(fetch(layout(blobs, {"1": top, "2": top}))) == [[b"etc/one"]]


def test_case_066_an_index_in_a_layout(blobs: Blobs, layout: Any, fetch: Any) -> None:
    top = blobs.index(blobs.image(ONE), blobs.image(TWO, platform="linux/arm64"))
    name = layout(blobs, {"1": top})
    assert paths(fetch(f"{name}:1", "linux/arm64")) == [[b"etc/two"]]


def test_case_066_platforms_in_the_layouts_own_index(blobs: Blobs, layout: Any, fetch: Any) -> None:
    def same_tag(folder: Path) -> None:
        index = folder / "index.json"
        index.write_text(index.read_text().replace('"amd"', '"1"').replace('"arm"', '"1"'))

    tops = {"amd": blobs.image(ONE), "arm": blobs.image(TWO, platform="linux/arm64")}
    name = layout(blobs, tops, same_tag)
    assert paths(fetch(name, "linux/arm64")) == [[b"etc/two"]]
    assert paths(fetch(f"{name}:1")) == [[b"etc/one"]]


def test_no_images(blobs: Blobs, layout: Any, fetch: Any) -> None:
    with pytest.raises(ImageNotFoundError, match=r"has no image$"):
        fetch(layout(blobs, {}))


def test_case_054_a_changed_blob(blobs: Blobs, layout: Any, fetch: Any) -> None:
    def change(folder: Path) -> None:
        for path in folder.rglob("blobs/sha256/*"):
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(BuildError, match="has the digest"):
        fetch(layout(blobs, {"1": blobs.image(ONE)}, change))


def test_a_missing_blob(blobs: Blobs, layout: Any, fetch: Any) -> None:
    top = blobs.image(ONE)
    layer = json.loads(blobs.by_digest[top["digest"]])["layers"][0]["digest"]
    del blobs.by_digest[layer]
    with pytest.raises(BuildError, match=f"the blob {layer} is not there"):
        fetch(layout(blobs, {"1": top}))


def test_case_056_a_digest_that_leads_out(blobs: Blobs, layout: Any, fetch: Any) -> None:
    top = {**blobs.image(ONE), "digest": "sha256:../../../../etc/passwd"}
    with pytest.raises(BuildError, match="malformed digest"):
        fetch(layout(blobs, {"1": top}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("oci-layout", None, "is not an OCI image layout: oci-layout is not there"),
        ("index.json", None, "is not an OCI image layout: index.json is not there"),
        ("oci-layout", '{"imageLayoutVersion": "2.0.0"}', "imageLayoutVersion '2.0.0'; 1.0.0 is supported"),
        ("oci-layout", "{}", "imageLayoutVersion None"),
        ("index.json", "[]", "index.json is not a JSON object"),
        ("index.json", '{"schemaVersion": 2, "manifests": [], "layers": []}', "two documents in one"),
    ],
)
def test_what_is_no_layout(blobs: Blobs, layout: Any, fetch: Any, name: str, text: str | None, message: str) -> None:
    def change(folder: Path) -> None:
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)

    with pytest.raises(BuildError, match=message):
        fetch(layout(blobs, {"1": blobs.image(ONE)}, change))


def test_symlinked_blobs_are_followed(blobs: Blobs, fetch: Any, tmp_path: Path) -> None:
    folder = blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE)})
    for path in folder.rglob("blobs/sha256/*"):
        moved = tmp_path / path.name
        path.rename(moved)
        path.symlink_to(moved)
    assert paths(fetch("oci:layout")) == [[b"etc/one"]]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_blob_that_is_no_file(blobs: Blobs, fetch: Any, tmp_path: Path, make: Any) -> None:
    top = blobs.image(ONE)
    folder = blobs.layout(tmp_path / "layout", {"1": top})
    path = folder / "blobs" / top["digest"].replace(":", "/")
    path.unlink()
    make(path)
    with pytest.raises(BuildError, match="is not a regular file"):
        fetch("oci:layout")


def test_paths_that_are_not_there(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 600)
    with pytest.raises(BuildError, match="is not a folder"):
        fetch("oci:nothing")
    with pytest.raises(BuildError, match="is not a folder") as caught:
        fetch("oci:file")
    assert caught.value.hint == "for a tar of a layout: oci-archive:FILE"
    with pytest.raises(BuildError, match=r"can't read .*/nothing: No such file"):
        fetch("oci-archive:nothing")
    with pytest.raises(BuildError, match="is not a regular file"):
        fetch("oci-archive:.")
    with pytest.raises(BuildError, match=f"^{tmp_path}/file: "):
        fetch("oci-archive:file")


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_compressed_archive(blobs: Blobs, fetch: Any, tmp_path: Path, compress: str) -> None:
    need_tool(compress)
    archive(blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE)}))
    packed = subprocess.run([compress, "-c", tmp_path / "layout.tar"], check=True, capture_output=True).stdout
    (tmp_path / "packed").write_bytes(packed)
    assert paths(fetch("oci-archive:packed:1")) == [[b"etc/one"]]
    assert not list((tmp_path / "cache").glob("tmp/.*"))


def test_a_compressed_archive_that_is_cut(blobs: Blobs, fetch: Any, tmp_path: Path) -> None:
    archive(blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE)}))
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "layout.tar").read_bytes())[:-100])
    with pytest.raises(BuildError, match="gzip stream is cut short"):
        fetch("oci-archive:packed")


@pytest.mark.parametrize("keep", [700, 5000])
def test_case_045_an_archive_that_is_cut(blobs: Blobs, fetch: Any, tmp_path: Path, keep: int) -> None:
    archive(blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE)}))
    os.truncate(tmp_path / "layout.tar", keep)
    with pytest.raises(BuildError, match="the tar ends in the middle"):
        fetch("oci-archive:layout.tar")


def test_an_archive_by_skopeo(blobs: Blobs, fetch: Any, tmp_path: Path) -> None:
    need_tool("skopeo")
    folder = blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE, TWO)})
    run("skopeo", "copy", "-q", f"oci:{folder}:1", f"oci-archive:{tmp_path}/image.tar:name:tag")
    assert paths(fetch("oci-archive:image.tar:name:tag")) == [[b"etc/one"], [b"etc/two"]]


def test_the_second_fetch_reads_no_blob(blobs: Blobs, fetch: Any, tmp_path: Path) -> None:
    folder = blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE)})
    first = fetch("oci:layout")
    for path in folder.rglob("blobs/sha256/*"):
        path.unlink()
    assert fetch("oci:layout").config == first.config
