from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.testing.images import Blobs, gzipped, tar
from fledge.testing.oracles import need_tool, run
from fledge.values import Digest

ONE = tar({"etc/one": b"1" * 5000})
TWO = tar({"etc/two": b"2"})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config_of(*tars: bytes, **more: Any) -> bytes:
    diff_ids = [f"sha256:{sha256(data)}" for data in tars]
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **more}
    return json.dumps(document).encode()


class Archive:
    """What `docker save` writes, by Python's tarfile, and wrong where a test wants it."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w")  # noqa: SIM115
        self.images: list[dict[str, Any]] = []

    def file(self, name: str, data: bytes) -> str:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        return name

    def link(self, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> str:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = target
        self._tar.addfile(member)
        return name

    def image(self, config: bytes, layers: list[str], *tags: str, name: str | None = None) -> None:
        name = self.file(name or f"{sha256(config)}.json", config)
        self.images.append({"Config": name, "RepoTags": list(tags) or None, "Layers": layers})

    def close(self, manifest: bytes | None = None) -> None:
        self.file("manifest.json", json.dumps(self.images).encode() if manifest is None else manifest)
        self._tar.close()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "image.tar")


def paths(image: Any) -> list[list[bytes]]:
    return [layer.index.paths for layer in image.layers]


def test_an_image(archive: Archive, fetch: Any) -> None:
    config = config_of(ONE, TWO, config={"Cmd": ["x"]})
    archive.image(config, [archive.file("a/layer.tar", ONE), archive.file("b/layer.tar", TWO)], "app:1")
    archive.close()
    image = fetch("docker-archive:image.tar")
    assert paths(image) == [[b"etc/one"], [b"etc/two"]]
    assert image.config.cmd == ("x",)
    assert image.digest == Digest.of(config)


def test_names(archive: Archive, fetch: Any) -> None:
    archive.image(config_of(ONE), [archive.file("a/layer.tar", ONE)], "nginx:latest", "nginx:1")
    archive.image(config_of(TWO), [archive.file("b/layer.tar", TWO)], "docker.io/library/redis:latest", "r.io:5/x:2")
    archive.close()
    for name in ("nginx", "nginx:1", "docker.io/library/nginx", "library/nginx:latest"):
        assert paths(fetch(f"docker-archive:image.tar:{name}")) == [[b"etc/one"]]
    for name in ("redis", "r.io:5/x:2"):
        assert paths(fetch(f"docker-archive:image.tar:{name}")) == [[b"etc/two"]]
    listing = "docker.io/library/redis:latest, nginx:1, nginx:latest, r.io:5/x:2"
    with pytest.raises(ImageNotFoundError, match=f"no image with the name 'nginx:2'; it has: {listing}"):
        fetch("docker-archive:image.tar:nginx:2")
    with pytest.raises(BuildError, match=f"has 2 images: {listing}"):
        fetch("docker-archive:image.tar")


def test_an_image_without_a_name(archive: Archive, fetch: Any) -> None:
    archive.image(config_of(ONE), [archive.file("a/layer.tar", ONE)])
    archive.close()
    assert paths(fetch("docker-archive:image.tar")) == [[b"etc/one"]]
    with pytest.raises(ImageNotFoundError, match="it has: no names"):
        fetch("docker-archive:image.tar:x")


def test_shared_and_linked_layers(archive: Archive, fetch: Any) -> None:
    archive.file("a/layer.tar", ONE)
    archive.file("c/layer.tar", TWO)
    layers = [
        "a/layer.tar",
        archive.link("b/layer.tar", "../a/layer.tar"),
        archive.link("d/layer.tar", "c/layer.tar", tarfile.LNKTYPE),
    ]
    archive.image(config_of(ONE, ONE, TWO), layers)
    archive.close()
    assert paths(fetch("docker-archive:image.tar")) == [[b"etc/one"], [b"etc/one"], [b"etc/two"]]


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd", "layer.tar", "nothing"])
def test_case_040_links_stay_inside(archive: Archive, fetch: Any, target: str) -> None:
    archive.image(config_of(ONE), [archive.link("a/layer.tar", target)])
    archive.close()
    with pytest.raises(BuildError, match=r"the layer 'a/layer.tar' is not there"):
        fetch("docker-archive:image.tar")


def test_compressed_layers(archive: Archive, fetch: Any) -> None:
    archive.image(config_of(ONE), [archive.file("blobs/sha256/x", gzipped(ONE))])
    archive.close()
    assert paths(fetch("docker-archive:image.tar")) == [[b"etc/one"]]
    assert paths(fetch("docker-archive:image.tar")) == [[b"etc/one"]]


def test_the_last_of_two_members_counts(archive: Archive, fetch: Any) -> None:
    archive.file("a/layer.tar", TWO)
    archive.image(config_of(ONE), [archive.file("./a/layer.tar", ONE)])
    archive.close()
    assert paths(fetch("docker-archive:image.tar")) == [[b"etc/one"]]


def test_case_066_another_platform(archive: Archive, fetch: Any) -> None:
    archive.image(config_of(ONE), [archive.file("a/layer.tar", ONE)])
    archive.close()
    with pytest.raises(ImageNotFoundError, match="no image for linux/arm64; it has: linux/amd64"):
        fetch("docker-archive:image.tar", "linux/arm64")


def test_case_054_a_layer_with_another_digest(archive: Archive, fetch: Any) -> None:
    archive.image(config_of(ONE), [archive.file("a/layer.tar", TWO)])
    archive.close()
    with pytest.raises(BuildError, match="digest sha256:"):
        fetch("docker-archive:image.tar")


@pytest.mark.parametrize("name", [f"{'0' * 64}.json", f"blobs/sha256/{'0' * 64}"])
def test_case_054_a_config_with_another_digest(archive: Archive, fetch: Any, name: str) -> None:
    archive.image(config_of(), [], name=name)
    archive.close()
    with pytest.raises(BuildError, match="its name says another"):
        fetch("docker-archive:image.tar")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"{}", "a list is expected"),
        (b"[]", "has 0 images"),
        (b"[1]", "an object is expected"),
        (b'[{"Config": "nothing"}]', "Config: 'nothing' is not in the archive"),
        (b'[{"Config": "../../etc/passwd"}]', "is not in the archive"),
        (b'[{"Config": 1}]', "Config: a string is expected"),
        (b'[{"Config": "c.json", "Layers": ["x"]}]', "0 of them, but the manifest lists 1 layers"),
        (b" " * (5 << 20), "longer than the 4 MiB"),
    ],
)
def test_malformed(archive: Archive, fetch: Any, manifest: bytes, message: str) -> None:
    archive.file("c.json", config_of())
    archive.close(manifest)
    with pytest.raises(BuildError, match=message):
        fetch("docker-archive:image.tar")


def test_what_is_no_docker_archive(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(ONE)
    with pytest.raises(BuildError, match=r"is not an archive of docker save: manifest\.json is not there"):
        fetch("docker-archive:image.tar")


def test_an_archive_by_skopeo(fetch: Any, tmp_path: Path) -> None:
    need_tool("skopeo")
    blobs = Blobs()
    folder = blobs.layout(tmp_path / "layout", {"1": blobs.image(ONE, TWO)})
    run("skopeo", "copy", "-q", f"oci:{folder}:1", f"docker-archive:{tmp_path}/image.tar:name:tag")
    assert paths(fetch("docker-archive:image.tar:name:tag")) == [[b"etc/one"], [b"etc/two"]]
