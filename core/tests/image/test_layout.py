"""Layouts that we write, as skopeo reads them."""

import hashlib
import json
import tarfile
from pathlib import Path

from fledge.image.layout import write_layout
from fledge.image.parse_config import parse_config
from fledge.sources import ImageReference, ImageSource
from fledge.testing.images import Blobs, tar
from fledge.testing.oracles import need_tool, run
from fledge.tree.content import FileSource
from fledge.tree.index import LayerIndex
from fledge.tree.layer import Layer
from fledge.tree.tar import TarReader
from fledge.values import Digest, Platform


def layer(path: Path, data: bytes) -> Layer:
    path.write_bytes(data)
    reader = TarReader(str(path))
    reader.feed(data)
    index: LayerIndex = reader.finish()
    return Layer(Digest.of(data), FileSource(path), index)


def test_skopeo_reads_it(tmp_path: Path) -> None:
    need_tool("skopeo")
    one, two = tar({"etc/one": b"1" * 5000}), tar({"etc/two": b"2"})
    layers = [layer(tmp_path / "1", one), layer(tmp_path / "2", two), layer(tmp_path / "1", one)]
    blobs = Blobs()
    blobs.config([str(one.diff_id) for one in layers], config={"Env": ["A=1"]})
    (raw,) = blobs.by_digest.values()
    config = parse_config(raw, "x", Platform.parse("linux/amd64"))
    image = ImageSource(ImageReference("oci", "x"), Digest.of(raw), config, layers)

    digest = write_layout(image, tmp_path / "layout")

    assert json.loads(run("skopeo", "inspect", f"oci:{tmp_path / 'layout'}").stdout)["Digest"] == str(digest)
    run("skopeo", "copy", "-q", f"oci:{tmp_path / 'layout'}", f"docker-archive:{tmp_path / 'copy.tar'}")
    with tarfile.open(tmp_path / "copy.tar") as archive:
        hashes = {hashlib.sha256(file.read()).hexdigest() for name in archive if (file := archive.extractfile(name))}
    assert {one.diff_id.hex for one in layers} <= hashes
