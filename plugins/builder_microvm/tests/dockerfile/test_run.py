"""What a RUN is settled to, and what becomes of its changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.testing.dockerfiles import Project
from fledge.testing.images import Blobs, tar
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import GuestPath
from fledge_builder_microvm.changes import Change, Opaque, Put, Remove
from fledge_builder_microvm.steps import BindMount, CacheMount, RunStep, SecretMount, TmpfsMount

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def step(project: Project, runner: Any, rows: str, **more: Any) -> RunStep:
    project.build(f"FROM scratch\n{rows}\n", **more)
    settled: RunStep = runner.steps[-1]
    return settled


@pytest.mark.parametrize(
    ("rows", "argv"),
    [
        ("RUN a  $b", ("/bin/sh", "-c", "a  $b")),
        ('RUN ["a", "$b"]', ("a", "$b")),
        ('SHELL ["/bin/bash", "-ec"]\nRUN a', ("/bin/bash", "-ec", "a")),
        ("RUN a \\\n  b", ("/bin/sh", "-c", "a   b")),
        ("RUN <<EOF\na\nb $c\nEOF", ("/bin/sh", "-c", "a\nb $c\n")),
        ("RUN <<-EOF\n\ta\nEOF", ("/bin/sh", "-c", "a\n")),
        ("RUN <<EOF\n#!/bin/x\na\nEOF", ("/dev/pipes/EOF",)),
        ("RUN python3 <<EOF\nprint()\nEOF", ("/bin/sh", "-c", "python3 <<EOF\nprint()\nEOF")),
        ("RUN cat <<A <<'B' >/x\n1\nA\n2\nB", ("/bin/sh", "-c", "cat <<A <<'B' >/x\n1\nA\n2\nB")),
        ("RUN <<'E F'\na\nE F", ("/bin/sh", "-c", "a\n")),
        ("RUN [ a ] || cat <<EOF\nb\nEOF", ("/bin/sh", "-c", "[ a ] || cat <<EOF\nb\nEOF")),
        ("RUN <<EOF cat\n\ta\nEOF", ("/bin/sh", "-c", "<<EOF cat\n\ta\nEOF")),
    ],
)
def test_command_lines(project: Project, runner: Any, rows: str, argv: tuple[str, ...]) -> None:
    assert step(project, runner, rows).argv == argv


def test_a_script_is_mounted(project: Project, runner: Any) -> None:
    (mount,) = step(project, runner, "RUN <<EOF\n#!/bin/x\na\nEOF").mounts
    assert isinstance(mount, BindMount)
    assert isinstance(mount.inode, File)
    assert (mount.target, mount.inode.mode, mount.inode.content.read()) == ("/dev/pipes/EOF", 0o755, b"#!/bin/x\na\n")


def test_environment(project: Project, runner: Any) -> None:
    rows = "ARG a=1\nARG b\nENV c=3\nARG d=4\nENV d=5\nUSER 7\nWORKDIR /w\nRUN x\nARG late=1"
    arguments = {"b": "2", "HTTP_PROXY": "p", "unknown": "u"}
    settled = step(project, runner, rows, build_args=arguments)
    assert settled.environ == {"PATH": PATH, "a": "1", "b": "2", "c": "3", "d": "5", "HTTP_PROXY": "p"}
    assert (settled.user, settled.workdir, settled.network) == ("7", "/w", True)


def test_no_network(project: Project, runner: Any) -> None:
    assert not step(project, runner, "RUN --network=none x").network


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("type=tmpfs,target=/t", TmpfsMount("/t")),
        ("type=tmpfs,dst=t,size=10M", TmpfsMount("/w/t", 10 << 20)),
        ("type=cache,target=/c", CacheMount("/c", "/c")),
        ("type=cache,target=/c/,id=$i,sharing=locked,mode=0700,uid=1,gid=2,ro", CacheMount("/c", "k", None, 0o700, 1, 2, True, "locked")),
        ("type=cache,target=/c,rw=false", CacheMount("/c", "/c", readonly=True)),
        ("type=cache,target=/c,ro,rw", CacheMount("/c", "/c")),
        ("type=Cache,target=/c,sharing=LOCKED", CacheMount("/c", "/c", sharing="locked")),
        ("type=tmpfs,target=/t,rw", TmpfsMount("/t")),
        ("type=tmpfs,target=/caf\xe9\u200bx", TmpfsMount("/caf\xe9\u200bx")),
        ("type=secret,source=token", SecretMount("/run/secrets/token", b"s3cret")),
        ("type=secret,id=token", SecretMount("/run/secrets/token", b"s3cret")),
        ("type=secret,id=token,target=/a/b,mode=0440,uid=5", SecretMount("/a/b", b"s3cret", 0o440, 5)),
        ("type=secret,target=/x/token", SecretMount("/x/token", b"s3cret")),
    ],
)  # fmt: skip
def test_mounts(project: Project, runner: Any, tmp_path: Path, mount: str, expected: object) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    rows = f"ARG i=k\nWORKDIR /w\nRUN --mount={mount} x"
    assert step(project, runner, rows, secrets={"token": secret}).mounts == (expected,)


def test_bind_mounts(project: Project, runner: Any) -> None:
    project.write("sub/a", "1")
    project.write("b", "2")
    rows = "COPY b /there\nFROM scratch\nRUN --mount=target=/all --mount=type=bind,source=sub/a,target=/all/a,rw --mount=from=0,target=/stage x"
    whole, stage, one = sorted(step(project, runner, rows).mounts, key=lambda mount: mount.target.replace("/all/", "z"))
    assert isinstance(whole, BindMount)
    assert isinstance(one, BindMount)
    assert isinstance(stage, BindMount)
    assert isinstance(whole.inode, Directory)
    assert set(whole.inode.entries) == {b"sub", b"b", b"Dockerfile"}
    assert isinstance(one.inode, File)
    assert (one.inode.content.read(), one.readonly, whole.readonly) == (b"1", False, True)
    assert isinstance(stage.inode, Directory)
    assert list(stage.inode.entries) == [b"there"]
    assert [mount.target for mount in runner.steps[-1].mounts] == ["/all", "/all/a", "/stage"]


@pytest.mark.parametrize(
    ("flags", "readonly"),
    [
        ("", True),
        (",ro", True),
        (",rw", False),
        (",readonly=false", False),
        (",rw=false", True),
        (",ro,rw", False),
        (",rw,ro", True),
    ],
)
def test_whether_a_bind_mount_is_read_only(project: Project, runner: Any, flags: str, readonly: bool) -> None:
    (mount,) = step(project, runner, f"RUN --mount=target=/x{flags} x").mounts
    assert isinstance(mount, BindMount)
    assert mount.readonly is readonly


def test_a_secret_in_the_environment(project: Project, runner: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    settled = step(project, runner, "RUN --mount=type=secret,id=t,env=TOKEN x", secrets={"t": secret})
    assert settled.environ["TOKEN"] == "s3cret"
    assert settled.mounts == ()


def test_a_secret_that_is_not_given(project: Project, runner: Any) -> None:
    assert step(project, runner, "RUN --mount=type=secret,id=t x").mounts == ()
    with pytest.raises(BuildError, match=r"^Dockerfile:2: RUN: --mount: the secret 't' is required and not given"):
        step(project, runner, "RUN --mount=type=secret,id=t,required x")


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("type=ssh", "--mount=type=ssh is not supported; bind, cache, tmpfs, secret are"),
        ("type=tmpfs", "--mount=type=tmpfs: target is missing"),
        ("type=tmpfs,target=/", "--mount=type=tmpfs: the target can't be /"),
        ("type=tmpfs,target=/x,uid=1", "--mount=type=tmpfs: unknown key 'uid'; allowed: readwrite, size, target"),
        ("type=tmpfs,target=/x,rw=false", "--mount=type=tmpfs: it can't be read-only"),
        ("type=tmpfs,target=/x,size=big", "--mount: malformed size 'big'"),
        ("type=cache,target=/x,sharing=all", "--mount: sharing=all; shared, private, locked are allowed"),
        ("type=cache,target=/x,mode=9", "--mount: mode=9 is not a mode; octal digits from 0 to 7777 are allowed"),
        ("type=cache,target=/x,mode=17777", "--mount: mode=17777 is not a mode"),
        ("type=cache,target=/x,uid=x", "--mount: uid=x is not a number"),
        ("type=cache,target=/x,gid=4294967295", "4294967295 is not an owner; 0 to 4294967294 are allowed"),
        (f"type=cache,target=/x,gid={'9' * 5000}", "9+ is not an owner; 0 to 4294967294 are allowed"),
        ("target=/x,source=nowhere", "--mount: /nowhere is not a file or directory of the build context"),
        ("target=/x,ro=perhaps", "--mount: readonly=perhaps; true and false are allowed"),
        ("type=secret", "--mount=type=secret: neither id nor target is given"),
    ],
)
def test_mounts_that_cannot_be(project: Project, runner: Any, mount: str, message: str) -> None:
    with pytest.raises(BuildError, match=f"^Dockerfile:2: RUN: {message}"):
        step(project, runner, f"RUN --mount={mount} x")


def test_changes_become_a_layer(project: Project, runner: Any) -> None:
    project.write("a")
    project.write("d/x")
    project.write("e/x")
    one = File(Content.of(b"new"), 0o4711, 1, 2, 5, {b"user.k": b"v"})
    runner.make = lambda step, root: [
        Remove(b"a"),
        Put(b"d", Directory(0o700)),
        Opaque(b"d"),
        Put(b"d/y", one),
        Put(b"z", one),
    ]
    built = project.build("FROM scratch\nCOPY . /\nRUN x\n")
    assert [path for path in built.paths if path != "Dockerfile"] == ["d", "e", "z", "d/y", "e/x"]
    assert len(built.source.layers) == 2
    tree = built.tree
    left, right = tree.root.entries[b"z"], built.get("/d/y")
    assert isinstance(left, File)
    assert isinstance(right, File)
    assert (left.mode, left.uid, left.gid, left.mtime, dict(left.xattrs)) == (0o4711, 1, 2, 5, {b"user.k": b"v"})


def test_the_workdir_of_a_base_is_made(project: Project, runner: Any) -> None:
    blobs = Blobs()
    image = blobs.image(tar({"f": b""}), config={"WorkingDir": "/not/there"}, created="2024-05-06T07:08:09Z")
    blobs.layout(project.folder / "layout", {"base": image})
    trees: list[Tree] = []

    def make(step: RunStep, root: Tree) -> list[Change]:
        trees.append(root)
        return []

    runner.make = make
    built = project.build("FROM oci:layout:base\nRUN x\n")
    assert runner.steps[-1].workdir == "/not/there"
    assert isinstance(trees[0].get(GuestPath.parse("/not/there")), Directory)
    inode = built.get("/not/there")
    assert inode is not None
    assert inode.mtime == built.source.config.created


def test_a_step_without_changes_has_no_layer(project: Project, runner: Any) -> None:
    built = project.build("FROM scratch\nRUN true\n")
    assert built.source.layers == ()
    assert built.document["history"][-1] == {"created_by": "RUN true", "empty_layer": True}
    assert "(cached)" in project.build("FROM scratch\nRUN true\n").log.texts("info")[-1]


def test_obstacles(project: Project, runner: Any, make_builder: Any, fledge_context: Any) -> None:
    runner.hindrance = "no kernel"
    builder = make_builder(fledge_context)
    assert builder.obstacle(project.request("FROM scratch\nRUN x\n")) == "Dockerfile:2: no kernel"
    assert builder.obstacle(project.request("FROM scratch\nRUN x\nFROM scratch\n")) is None
    assert builder.obstacle(project.request("FROM scratch\nRUN x\nFROM scratch\nRUN y\n", target="0")) is not None
    assert builder.obstacle(project.request("FROM scratch\nRUNN x\n")) is None, "it is for the build to tell"
    with pytest.raises(BuildError, match=r"^Dockerfile:2: RUN: no kernel"):
        project.build("FROM scratch\nRUN x\n")
    runner.hindrance = None
    assert builder.obstacle(project.request("FROM scratch\nRUN x\n")) is None
