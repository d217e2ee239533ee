"""Manifests that may come from anywhere, and the artifacts that they name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fledge.errors import BuildError, UsageError
from fledge.manifest_file import artifact_of, manifests_for, read_manifest
from fledge.testing.venvs import as_nobody


def write(folder: Path, url: str, name: str = "m.manifest.json") -> Path:
    path = folder / name
    rootfs = {"url": url, "checksum": "sha256:" + "0" * 64, "format": "ext4"}
    path.write_text(json.dumps({"schema_version": "v1", "name": "n", "version": "1", "runtime": "r", "rootfs": rootfs}))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: Expecting"),
        ('{"name": 1}', "is no manifest: .*version"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "is no manifest: it is nested too deeply$"),
        ('{"a": ' + "1" * 5000 + "}", "is not JSON: Exceeds the limit"),
    ],
    ids=["no JSON", "another's", "deep", "a long number"],
)
def test_what_is_no_manifest(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.manifest.json").write_text(text)
    with pytest.raises(BuildError, match=message):
        read_manifest(tmp_path / "m.manifest.json")
    assert list(manifests_for(tmp_path / "image.img")) == []


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"^can't read {tmp_path}/m: No such file or directory$"):
        read_manifest(tmp_path / "m")


@pytest.mark.parametrize("url", ["http://[x/image.img", "file:///\ud800/image.img"])
def test_a_malformed_url(tmp_path: Path, url: str) -> None:
    path = write(tmp_path, url)
    with pytest.raises(BuildError, match=r"m\.manifest\.json is no manifest: rootfs\.url: "):
        read_manifest(path)
    assert list(manifests_for(tmp_path / "image.img")) == []


@pytest.mark.parametrize("url", ["/" + "a" * 300, "/a%00b", "file:///nowhere/image.img", "https://example.org/"])
def test_an_artifact_that_is_nowhere(tmp_path: Path, url: str) -> None:
    path = write(tmp_path, url)
    with pytest.raises(UsageError, match="is not a file on this machine"):
        artifact_of(read_manifest(path), path)


@pytest.mark.parametrize("name", [b"image.img", "grüß dich.img".encode(), b"\xff%25.img"])
def test_an_artifact_is_found_by_whatever_name(tmp_path: Path, name: bytes) -> None:
    artifact = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    artifact.write_bytes(b"")
    for url in (artifact.as_uri(), f"https://example.org/{artifact.as_uri().rpartition('/')[2]}"):
        path = write(tmp_path, url)
        assert artifact_of(read_manifest(path), path) == artifact
        assert [found for found, _ in manifests_for(artifact)] == [path]


def test_a_place_that_the_user_may_not_see_is_looked_for_beside_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "image.img").touch()
    write(tmp_path, (tmp_path / "closed" / "image.img").as_uri())
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # Nobody else may enter pytest's own folders.
    path = Path("m.manifest.json")
    document = read_manifest(path)
    (tmp_path / "closed").chmod(0)
    with as_nobody():
        assert artifact_of(document, path) == Path("image.img")
