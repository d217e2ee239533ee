"""What is to be started, looked up in trees made by hand."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from fledge.bootable import check_startable, check_workload
from fledge.elf import interpreter
from fledge.errors import BuildError
from fledge.tree.content import Content, MemorySource, Piece
from fledge.tree.inode import CharDevice, Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform

AMD64 = Platform("linux", "amd64")


def elf(loader: bytes | None = None, *, machine: int = 62, bits: int = 64) -> bytes:
    """The smallest ELF file with these headers."""
    big = bits == 64
    head, step = (64, 56) if big else (52, 32)
    ident = b"\x7fELF" + bytes((2 if big else 1, 1, 1)) + bytes(9)
    count = 2 if loader is not None else 1
    word = "Q" if big else "I"
    header = ident + struct.pack(f"<HHI3{word}I6H", 2, machine, 1, 0, head, 0, 0, head, step, count, 0, 0, 0)
    at = head + count * step
    programs = []
    for kind, size in ((1, at), (3, len(loader or b"") + 1))[:count]:
        fields = (kind, 5, at, 0, 0, size, size, 1) if big else (kind, at, 0, 0, size, size, 5, 1)
        programs.append(struct.pack("<IIQQQQQQ" if big else "<IIIIIIII", *fields))
    return header + b"".join(programs) + (loader + b"\0" if loader is not None else bytes(20))


def program(data: bytes = b"", mode: int = 0o755) -> File:
    return File(Content.of(data), mode)


def tree_of(**entries: Inode) -> Tree:
    """`usr__bin__app`: /usr/bin/app."""
    tree = Tree(Directory(0o755))
    for name, inode in entries.items():
        tree.insert(GuestPath(tuple(part.encode() for part in name.split("__"))), inode)
    return tree


def start(tree: Tree, path: str = "/init", platform: Platform = AMD64) -> None:
    check_startable(tree, GuestPath.parse(path), platform, "process 1")


STATIC = elf()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (STATIC, None),
        (elf(bits=32), None),
        (elf(b"/lib64/ld-linux-x86-64.so.2"), b"/lib64/ld-linux-x86-64.so.2"),
        (elf(b"/lib/ld-musl-i386.so.1", bits=32, machine=3), b"/lib/ld-musl-i386.so.1"),
        (b"#!/bin/sh\n", b"/bin/sh"),
        (b"#! \t/usr/bin/env\t-S python3 -u\nprint()", b"/usr/bin/env"),
        (b"#!/bin/sh", b"/bin/sh"),
    ],
)
def test_interpreter(data: bytes, found: bytes | None) -> None:
    assert interpreter(Content.of(data)) == found


def test_interpreter_of_a_file_in_pieces() -> None:
    data = elf(b"/lib/ld")
    source = MemorySource(data)
    pieces = tuple(Piece(at, source, at, min(7, len(data) - at)) for at in range(0, len(data), 7))
    assert interpreter(Content(len(data), pieces)) == b"/lib/ld"


@pytest.mark.parametrize(
    "data", [b"#!\n", b"#!  \t\n/bin/sh", STATIC[:40], elf(b"/lib/ld")[:100], elf(b""), STATIC[:56] + b"\xff" * 8]
)
def test_headers_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="its"):
        interpreter(Content.of(data))


LOADER = elf(b"/lib64/ld.so")


@pytest.mark.parametrize(
    "tree",
    [
        tree_of(init=program(STATIC)),
        tree_of(init=Symlink(b"sbin/init"), sbin=Symlink(b"/usr/sbin"), usr__sbin__init=program(STATIC)),
        tree_of(init=program(LOADER), lib64=Symlink(b"lib"), lib__ld=Directory(0o755), **{"lib__ld.so": program(STATIC)}),
        tree_of(init=program(b"#!/bin/sh\n"), bin__sh=Symlink(b"/bin/busybox"), bin__busybox=program(STATIC)),
        tree_of(init=program(b"#!/a"), a=program(b"#!/b"), b=program(b"#!/c"), c=program(b"#!/d"), d=program(STATIC)),
    ],
)  # fmt: skip
def test_startable(tree: Tree) -> None:
    start(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (tree_of(), "process 1 /init is not in the image"),
        (tree_of(init=Symlink(b"nowhere")), "process 1 /init is not in the image"),
        (tree_of(init=Symlink(b"init")), "process 1 /init is not in the image"),
        (tree_of(init=Directory(0o755)), "process 1 /init is a directory; a program is expected"),
        (tree_of(init=CharDevice(1, 3, 0o666)), "process 1 /init is not a regular file"),
        (tree_of(init=program(STATIC, 0o644)), r"process 1 /init is not executable \(mode 0644\)"),
        (tree_of(init=program(b"echo hi\n")), "process 1 /init is no program"),
        (tree_of(init=program(b"")), "process 1 /init is no program"),
        (tree_of(init=program(elf(machine=183))), "process 1 /init is built for arm64, and the image for amd64"),
        (tree_of(init=program(STATIC[:50])), "process 1 /init can't be run: its ELF header is cut short"),
        (tree_of(init=program(LOADER)), r"process 1 /init needs /lib64/ld\.so, which is not in the image"),
        (
            tree_of(init=program(LOADER), **{"lib64__ld.so": program(STATIC, 0o600)}),
            r"/lib64/ld\.so, which process 1 /init needs, is not executable \(mode 0600\)",
        ),
        (tree_of(init=program(b"#!/bin/bash\n")), "process 1 /init needs /bin/bash, which is not in the image"),
        (tree_of(init=program(b"#!sh\n")), "needs the interpreter 'sh', which is not an absolute path"),
        (tree_of(init=program(b"#!/init\n")), "process 1 /init is a script that needs more than 4 interpreters"),
    ],
)
def test_not_startable(tree: Tree, message: str) -> None:
    with pytest.raises(BuildError, match=f"^{message}" if message.startswith("process") else message):
        start(tree)


APP = tree_of(
    usr__bin__app=program(STATIC),
    bin=Symlink(b"usr/bin"),
    opt__app=program(STATIC, 0o644),
    srv__run=program(b"#!/usr/bin/app\n"),
    opt__data=program(b"text", 0o644),
)


@pytest.mark.parametrize(
    "workload",
    [
        {},
        {"entrypoint": ["/usr/bin/app", "--serve"]},
        {"entrypoint": ["/bin/app"]},
        {"entrypoint": ["/srv/../bin/app"]},
        {"entrypoint": ["app"]},
        {"entrypoint": ["app"], "env": {"PATH": "/none:/opt:/usr/bin"}},
        {"entrypoint": ["./run"], "workdir": "/srv"},
        {"entrypoint": ["../srv/run"], "workdir": "/usr"},
        {"entrypoint": ["srv/run"]},
    ],
)
def test_workloads_that_start(workload: dict[str, Any]) -> None:
    check_workload(APP, workload, AMD64)


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        ({"entrypoint": ["/usr/bin/missing"]}, "the workload's entrypoint /usr/bin/missing is not in the image"),
        ({"entrypoint": ["./app"], "workdir": "/srv"}, "the workload's entrypoint /srv/app is not in the image"),
        (
            {"entrypoint": ["missing"]},
            "'missing' is in no folder of PATH in the image (/usr/local/sbin:/usr/local/bin:",
        ),
        ({"entrypoint": ["app"], "env": {"PATH": "/opt"}}, "the workload's entrypoint /opt/app is not executable"),
        ({"entrypoint": ["app --serve"]}, "'app --serve' is in no folder of PATH"),
        ({"entrypoint": ["/opt/data"]}, "the workload's entrypoint /opt/data is not executable (mode 0644)"),
    ],
)
def test_workloads_that_do_not(workload: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError) as caught:
        check_workload(APP, workload, AMD64)
    assert message in caught.value.message
    assert caught.value.hint
