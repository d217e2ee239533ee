"""Artifacts and manifests, from real drivers' archives to what is to be booted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fledge.boot.initramfs import archive
from fledge.boot.run import encode_manifest
from fledge.boot.subject import open_subject
from fledge.errors import BuildError, UsageError
from fledge.manifest_file import digest_of
from fledge.testing.conformance.packing import pack
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import GuestPath
from fledge_guest import Workload, init_binary

INIT = (0o755, init_binary("amd64"))


def artifact(folder: Path, *, init: bool = True, **described: Any) -> Path:
    """An initramfs artifact. `described`: of Workload; without any there is no description."""
    files = {"/init": INIT if init else (0o755, b"#!/bin/sh\n")}
    if described:
        files["/.fledge/workload"] = (0o644, Workload(**described).render())
    path = folder / "plugin.cpio"
    path.write_bytes(archive(files))
    return path


def manifest(path: Path, **more: Any) -> dict[str, Any]:
    return {
        "schema_version": "v1",
        "name": "n",
        "version": "1",
        "runtime": "r",
        "initramfs": {"url": path.as_uri(), "checksum": str(digest_of(path, "sha256")), "format": "cpio"},
        "workload": {"type": "exec", "entrypoint": ["/from-manifest"], "env": {"A": "1"}},
        **more,
    }


def write(folder: Path, document: object, name: str = "n.manifest.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_an_artifact_alone_runs_what_it_describes(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",))
    found = open_subject(path)
    assert (found.artifact, found.format, found.medium) == (path, "cpio", "initramfs")
    assert found.manifest == {}
    assert found.workload is None
    assert not found.agent
    assert not found.silent


def test_a_manifest_names_its_artifact_and_what_runs(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",), overlay_size="2G", stop_signal=3)
    found = open_subject(write(tmp_path, manifest(path)))
    assert found.artifact == path
    assert found.workload == Workload(("/from-manifest",), {"A": "1"}, overlay_size="2G", stop_signal=3)


def test_a_manifest_beside_the_artifact_counts_when_it_is_its_own(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",))
    write(tmp_path, {"name": "no manifest"}, "a.manifest.json")
    write(tmp_path, "nonsense", "b.manifest.json")
    write(tmp_path, manifest(path, name="mine"))
    assert open_subject(path).manifest["name"] == "mine"
    artifact(tmp_path, entrypoint=("/changed",))
    told: list[str] = []
    assert open_subject(path, told.append).manifest == {}
    assert told == [f"{tmp_path}/n.manifest.json is not used: its checksum is not that of {path}"]


def test_the_architecture_is_that_of_the_init(tmp_path: Path) -> None:
    path = tmp_path / "plugin.cpio"
    for init, found in ((init_binary("arm64"), "arm64"), (init_binary("amd64"), "amd64"), (b"#!/bin/sh\n", None)):
        path.write_bytes(archive({"/init": (0o755, init), "/.fledge/workload": (0o644, Workload(("/a",)).render())}))
        assert open_subject(path).architecture == found


def test_a_published_artifact_is_looked_for_beside_its_manifest(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",))
    document = manifest(path)
    document["initramfs"]["url"] = "https://example.org/files/plugin.cpio"
    assert open_subject(write(tmp_path, document)).artifact == path
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(
        UsageError, match=r"https://example.org/files/plugin.cpio is not a file on this machine"
    ) as caught:
        open_subject(tmp_path / "n.manifest.json")
    assert caught.value.hint == f"fetch it to {path}"


def test_an_artifact_that_is_not_the_manifests_is_an_error(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",))
    document = write(tmp_path, manifest(path))
    artifact(tmp_path, entrypoint=("/changed",))
    with pytest.raises(BuildError, match=f"{path} is not the artifact of its manifest: sha256:"):
        open_subject(document)


def test_a_manifest_with_sha512(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",))
    document = manifest(path)
    document["initramfs"]["checksum"] = str(digest_of(path, "sha512"))
    assert open_subject(write(tmp_path, document)).artifact == path
    document["initramfs"]["checksum"] = "sha512:" + "0" * 128
    with pytest.raises(BuildError, match="is not the artifact of its manifest: sha512:"):
        open_subject(write(tmp_path, document))


def test_a_manifest_with_a_malformed_checksum(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",))
    document = manifest(path)
    document["initramfs"]["checksum"] = "sha256:" + "0" * 63
    with pytest.raises(BuildError, match=r"checksum: malformed digest|is no manifest"):
        open_subject(write(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"name": 1}', "is no manifest: .*version"),
        ("", "is not an artifact that an installed filesystem knows"),
    ],
)
def test_what_is_neither(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(BuildError, match=message):
        open_subject(tmp_path / "x")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"can't read {tmp_path}/x: No such file"):
        open_subject(tmp_path / "x")


def test_an_agent_gets_the_machine(tmp_path: Path) -> None:
    path = artifact(tmp_path, entrypoint=("/app",), handover="/bin/kestrel")
    found = open_subject(write(tmp_path, manifest(path)))
    assert found.agent
    assert found.workload is None


def test_an_agent_without_a_description(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(archive({"/init": INIT, "/bin/kestrel": (0o755, b"")}))
    found = open_subject(tmp_path / "x")
    assert found.agent
    assert found.workload == Workload(handover="/bin/kestrel")


def test_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match=r"has nothing to run: there is no /\.fledge/workload in it, and no manifest"
    ) as caught:
        open_subject(artifact(tmp_path))
    assert caught.value.hint == "give manifest.toml a [workload] with the entrypoint, and build again"


def test_an_init_of_its_own_runs_whatever_it_likes(tmp_path: Path) -> None:
    path = artifact(tmp_path, init=False)
    found = open_subject(write(tmp_path, manifest(path)))
    assert found.silent
    assert found.workload is None


def test_the_images_modules_are_kept(tmp_path: Path) -> None:
    files = {
        "/init": INIT,
        "/.fledge/modules": (0o644, b"ext4\n"),
        "/.fledge/workload": (0o644, Workload(("a",)).render()),
    }
    (tmp_path / "x").write_bytes(archive(files))
    assert open_subject(tmp_path / "x").modules == b"ext4\n"


def test_a_description_of_another_form_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(archive({"/init": INIT, "/.fledge/workload": (0o644, b"fledge-workload 2\n")}))
    with pytest.raises(
        BuildError, match=r"/\.fledge/workload is not of a form that this version knows: b'fledge-workload 2"
    ):
        open_subject(tmp_path / "x")


@pytest.mark.parametrize("path", ["/.fledge/workload", "/.fledge/modules"])
def test_a_file_that_is_larger_than_the_guest_init_reads(tmp_path: Path, path: str) -> None:
    """An artifact of a few KiB may hold a hole of terabytes."""
    tree = Tree(Directory(0o755))
    tree.insert(GuestPath.parse("/.fledge/workload"), File(Content.of(Workload(("/app",)).render()), 0o644))
    tree.insert(GuestPath.parse(path), File(Content(4 << 40, ()), 0o644))
    packed = pack("ext4", {}, tree, tmp_path, hashed=False)
    with pytest.raises(BuildError, match=f"{path} has {4 << 40} bytes; the guest init reads at most [0-9]+$"):
        open_subject(packed.path)


def test_an_init_as_large_as_no_guest_init(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(archive({"/init": (0o755, INIT[1] + bytes(1 << 20))}))
    assert open_subject(path).silent


@pytest.mark.parametrize("signal", ["9" * 5000, "\u0663", "-1", ""])
def test_a_stop_signal_that_is_no_number(tmp_path: Path, signal: str) -> None:
    described = Workload(("/app",)).render() + f"stop_signal={signal}\0".encode()
    path = tmp_path / "plugin.cpio"
    path.write_bytes(archive({"/init": INIT, "/.fledge/workload": (0o644, described)}))
    found = open_subject(write(tmp_path, manifest(path)))
    assert found.workload is not None
    assert found.workload.stop_signal is None


def test_volants_form_of_the_manifest() -> None:
    import base64
    import gzip

    text = encode_manifest({"name": "é"})
    assert "=" not in text
    assert json.loads(gzip.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))) == {"name": "é"}
