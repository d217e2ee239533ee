"""`fledge verify`: what is sound passes, and whatever is not as its manifest and its image say is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fledge.testing.project import LAYERS, PROGRAM, Project, loadable
from fledge.testing.tars import archive, member

FILESYSTEMS = loadable("filesystem")
ARTIFACT = "image-rootfs.img"


def verify(project: Project, *arguments: str | Path, code: int = 0) -> list[str]:
    """The lines on stdout."""
    return project.run("verify", *arguments, code=code).stdout.splitlines()


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_what_was_built_is_what_was_merged(project: Project, filesystem: str) -> None:
    project.config(filesystem)
    project.build()
    said = project.run("verify", ARTIFACT, "-c", "fledge.toml")
    assert said.stdout == ""
    assert said.stderr.endswith("KiB in files: as image.manifest.json says, every inode as it was merged\n")
    assert verify(project, "image.manifest.json") == []


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_another_image_is_told_inode_by_inode(project: Project, filesystem: str) -> None:
    project.config(filesystem)
    project.build()
    changed = archive(
        member(b"etc/", flag=b"5", mode=0o700, mtime=1_600_000_000),
        member(b"etc/motd", b"welcome!", mode=0o640, gid=8),
        member(b"usr/bin/.wh.again"),
        member(b"var/.wh.data"),
        member(b"var/pipe", flag=b"6"),
    )
    project.image(*LAYERS, changed, created="2024-01-01T00:00:00Z", config={"Entrypoint": ["/usr/bin/app"]})
    lines = verify(project, ARTIFACT, "-c", "fledge.toml", code=1)
    # The config and the workload that is described from it, too.
    assert [line for line in lines if not line.startswith(("/.fledge/", "/etc/fsify-entrypoint"))] == [
        "/etc: mode: expected 0700, found 0755",
        "/etc/motd: content: expected 21 at byte 7, found 0a at byte 7",
        "/usr/bin/again: entry: expected nothing, found a regular file",
        "/var/data: entry: expected nothing, found a regular file",
        "/var/pipe: entry: expected a fifo, found nothing",
    ]


def test_a_changed_byte(project: Project) -> None:
    project.config("ext4")
    project.build()
    path = project.folder / ARTIFACT
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"welcome\n", b"Welcome\n"))
    (checksum,) = verify(project, ARTIFACT, code=1)
    assert checksum.startswith(f"{ARTIFACT}: checksum: expected sha256:")
    assert verify(project, "image.manifest.json", code=1) == [checksum]
    found = json.loads(project.run("verify", "--json", ARTIFACT, "-c", "fledge.toml", code=1).stdout)
    assert found["format"] == "ext4"
    assert found["manifest"] == "image.manifest.json"
    assert [(one["path"], one["what"]) for one in found["differences"]] == [
        (None, "checksum"),
        ("/etc/motd", "content"),
    ]
    assert found["differences"][1]["found"].startswith("57 65 6c")


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_an_artifact_that_is_cut_short(project: Project, filesystem: str) -> None:
    project.config(filesystem)
    project.build()
    with open(project.folder / ARTIFACT, "r+b") as file:
        file.truncate(5000)
    lines = verify(project, ARTIFACT, code=1)
    assert lines[0].startswith(f"{ARTIFACT}: checksum: ")
    assert len(lines) > 1
    assert all(": structure: expected " in line or ": content: expected " in line for line in lines[1:])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"format": "ext4"}, "format: expected ext4, found squashfs"),
        ({"format": "raw"}, None),
        ({"checksum": "sha256:" + "0" * 64}, f"checksum: expected sha256:{'0' * 64}, found sha256:"),
    ],
)
def test_what_the_manifest_says(project: Project, change: dict[str, Any], line: str | None) -> None:
    project.config()
    project.build()
    document = project.manifest()
    document["rootfs"] |= change
    (project.folder / "image.manifest.json").write_text(json.dumps(document))
    lines = verify(project, ARTIFACT, code=0 if line is None else 1)
    assert [one[: len(f"{ARTIFACT}: {line}")] for one in lines] == ([] if line is None else [f"{ARTIFACT}: {line}"])


def test_a_manifest_without_a_checksum(project: Project) -> None:
    project.config()
    project.build()
    document = project.manifest()
    del document["rootfs"]["checksum"]
    (project.folder / "image.manifest.json").write_text(json.dumps(document))
    assert verify(project, ARTIFACT, code=1) == [f"{ARTIFACT}: checksum: expected one in the manifest, found none"]


def test_the_manifest_of_another_artifact_with_this_name_does_not_count_beside_the_own_one(project: Project) -> None:
    project.config()
    project.build()
    other = project.manifest()
    other["rootfs"]["checksum"] = "sha256:" + "1" * 64
    (project.folder / "an-older.manifest.json").write_text(json.dumps(other))
    assert verify(project, ARTIFACT) == []


def test_an_artifact_alone(project: Project) -> None:
    project.config()
    project.build()
    (project.folder / "image.manifest.json").unlink()
    done = project.run("verify", ARTIFACT)
    assert done.stdout == ""
    assert done.stderr.endswith("no manifest, every byte can be read\n")


def test_another_filesystem_than_the_config_says(project: Project) -> None:
    project.config("ext4")
    project.build()
    project.config("squashfs")
    assert verify(project, ARTIFACT, "-c", "fledge.toml", code=1) == [
        f"{ARTIFACT}: format: expected squashfs, found ext4",
    ]


def test_a_direct_build(project: Project) -> None:
    project.build("oci:image:latest", "--agent", "none", "--filesystem", "ext4")
    assert verify(project, "image.img", "--image", "oci:image:latest", "--agent", "none") == []
    project.image(archive(member(b"usr/bin/app", PROGRAM, mode=0o755)), config={"Entrypoint": ["/usr/bin/app"]})
    lines = verify(project, "image.img", "--image", "oci:image:latest", "--agent", "none", code=1)
    assert "/bin: entry: expected nothing, found a symlink" in lines


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.img"], 1, "can't read none.img: No such file or directory"),
        (["fledge.toml"], 1, "fledge.toml: structure: expected an installed filesystem's, found fledge.toml is not an"),
        (["image/index.json"], 1, "image/index.json is no manifest: "),
        ([ARTIFACT, "-m", "manifest.toml"], 2, "--manifest goes with --config or --image"),
        ([ARTIFACT, "--platform", "linux/arm64"], 2, "--platform goes with --config or --image"),
        ([ARTIFACT, "-c", "fledge.toml", "--agent", "none"], 2, "--agent goes with --image"),
        ([ARTIFACT, "-c", "fledge.toml", "--image", "x"], 2, "give either --config or --image ('x')"),
        ([], 2, "missing argument 'ARTIFACT'"),
    ],
)
def test_what_can_not_be_verified(project: Project, arguments: list[str], code: int, message: str) -> None:
    project.config()
    done = project.run("verify", *arguments, code=code)
    assert message in done.stdout + done.stderr


def test_a_manifest_whose_artifact_is_elsewhere(project: Project) -> None:
    project.config()
    project.build("--artifact-url", "https://example.com/other.img")
    said = project.run("verify", "image.manifest.json", code=2).stderr
    assert "https://example.com/other.img is not a file on this machine" in said
    (project.folder / ARTIFACT).rename(project.folder / "other.img")
    assert verify(project, "image.manifest.json") == []
