"""Every example is built, as it stands in its folder, with what it would fetch put beside it or served on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fledge.testing.http import Answer, Asked, serving
from fledge.testing.oracles import need_tool
from fledge.testing.project import PLATFORM, Project
from fledge_guest import init_binary

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = {path.parent for path in ROOT.glob("examples/*/README.md")}

STATIC = init_binary(PLATFORM.removeprefix("linux/"))
"""A static program for this machine, in place of Caddy and of the agent."""


@dataclass(frozen=True)
class Example:
    """`changes`: what the test replaces in fledge.toml, since it would be fetched."""

    manifest: str
    artifact: str
    changes: tuple[tuple[str, str], ...] = ()


BUSYBOX = ('strategy = "initramfs"\n', 'strategy = "initramfs"\n[source]\nbusybox_url = "busybox"\n')
"""Debian's, instead of the pinned one from busybox.net."""

BUILT = {
    "caddy-initramfs": Example("caddy", "plugin.cpio.gz", (BUSYBOX,)),
    "custom-init": Example("custom-init", "plugin.cpio.gz", (BUSYBOX,)),
    "hello-initramfs": Example("hello", "plugin.cpio.gz", (BUSYBOX,)),
    "nginx-oci": Example("nginx", "nginx-rootfs.img", (("docker://nginx:alpine", "oci:image:latest"),)),
    "no-init": Example("no-init", "plugin.cpio.gz", (BUSYBOX,)),
}


@pytest.fixture
def releases() -> Iterator[str]:
    """The URL of an API that has one release of the agent."""
    release = json.dumps({"tag_name": "v1.2.3", "assets": [{"id": 7, "name": "kestrel"}]}).encode()

    def answer(asked: Asked) -> Answer:
        return Answer(body=STATIC if asked.path.endswith("/assets/7") else release)

    with serving(answer) as server:
        yield server.url


Build = Callable[[str], Project]


@pytest.fixture
def build(tmp_path: Path, releases: str) -> Build:
    def build(name: str) -> Project:
        example = BUILT[name]
        project = Project(tmp_path / name)
        shutil.copytree(
            ROOT / "examples" / name, project.folder, ignore=shutil.ignore_patterns("*.img", "*.gz", "*.json")
        )
        config = project.folder / "fledge.toml"
        text = config.read_text()
        for before, after in example.changes:
            assert before in text
            text = text.replace(before, after)
        config.write_text(text)
        if BUSYBOX in example.changes:
            shutil.copy(need_tool("busybox", "busybox-static"), project.folder / "busybox")
        if name == "caddy-initramfs":
            (project.folder / "payload" / "caddy").write_bytes(STATIC)
        if name == "nginx-oci":
            project.image()
        project.environ["FLEDGE_GITHUB_API"] = releases
        project.run("validate")
        built = project.build()
        assert built["artifact"] == str(project.folder / example.artifact)
        assert (project.folder / f"{example.manifest}.manifest.json").exists()
        return project

    return build


def test_every_example_is_built_here() -> None:
    assert {path.name for path in EXAMPLES} == set(BUILT)


@pytest.mark.parametrize("name", BUILT)
def test_an_example_has_its_files_and_says_what_they_are(name: str) -> None:
    folder = ROOT / "examples" / name
    assert (folder / "fledge.toml").read_text().startswith("# ")
    assert (folder / "manifest.toml").read_text().startswith("# ")
    readme = (folder / "README.md").read_text()
    assert f"cd examples/{name}\n" in readme
    assert "\nfledge build" in readme
    assert BUILT[name].artifact in readme


def test_the_web_page_from_memory(build: Build) -> None:
    project = build("hello-initramfs")
    inside = project.inside("plugin.cpio.gz")
    workload = project.manifest("hello.manifest.json")["workload"]
    assert inside[workload["entrypoint"][0]]["target"] == "/bin/busybox"
    assert workload["base_url"] == "http://127.0.0.1:8080"
    assert b"web server" in project.cat("plugin.cpio.gz", "/srv/index.html")
    assert "/bin/kestrel" not in inside


def test_caddy_with_the_agent(build: Build) -> None:
    project = build("caddy-initramfs")
    inside = project.inside("plugin.cpio.gz")
    assert inside["/usr/bin/caddy"]["mode"] == "0755"
    assert project.cat("plugin.cpio.gz", "/etc/caddy/Caddyfile").startswith(b"{\n")
    assert project.cat("plugin.cpio.gz", "/bin/kestrel") == STATIC
    assert b"handover=/bin/kestrel\0" in project.cat("plugin.cpio.gz", "/.fledge/workload")
    manifest = project.manifest("caddy.manifest.json")
    assert manifest["initramfs"]["format"] == "cpio"
    assert manifest["workload"]["base_url"] == "http://127.0.0.1:80"


def test_nginx_from_an_image(build: Build) -> None:
    project = build("nginx-oci")
    page = project.cat("nginx-rootfs.img", "/usr/share/nginx/html/index.html")
    assert page == (ROOT / "examples" / "nginx-oci" / "index.html").read_bytes()
    assert project.cat("nginx-rootfs.img", "/bin/kestrel") == STATIC
    assert project.manifest("nginx.manifest.json")["rootfs"]["format"] == "squashfs"


def test_an_init_of_ones_own_after_the_guest_init(build: Build) -> None:
    project = build("custom-init")
    assert project.inside("plugin.cpio.gz")["/sbin/my-init"]["mode"] == "0755"
    assert project.cat("plugin.cpio.gz", "/init") == STATIC
    assert b"handover=/sbin/my-init\0" in project.cat("plugin.cpio.gz", "/.fledge/workload")


def test_nothing_but_ones_own_init(build: Build) -> None:
    project = build("no-init")
    inside = project.inside("plugin.cpio.gz")
    assert project.cat("plugin.cpio.gz", "/init") == (ROOT / "examples" / "no-init" / "init").read_bytes()
    assert "/.fledge" not in inside
    assert inside["/bin/sh"]["target"] == "/bin/busybox"
