from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest
from fledge.elf import check_program
from fledge.errors import BuildError
from fledge.tree.content import Content, HostFileSource
from fledge.values import Platform

ALL = {
    "386": (1, "<", 3),
    "arm": (1, "<", 40),
    "amd64": (2, "<", 62),
    "arm64": (2, "<", 183),
    "ppc64le": (2, "<", 21),
    "riscv64": (2, "<", 243),
    "s390x": (2, ">", 22),
}
HOST = {"x86_64": "amd64", "aarch64": "arm64"}


def elf(architecture: str) -> bytes:
    bits, order, machine = ALL[architecture]
    ident = b"\x7fELF" + bytes([bits, 1 if order == "<" else 2, 1]) + bytes(9)
    return ident + struct.pack(f"{order}HH", 2, machine) + bytes(44)


def check(data: bytes, architecture: str) -> None:
    check_program(Content.of(data), Platform("linux", architecture), "the agent x")


@pytest.mark.parametrize("wanted", ALL)
@pytest.mark.parametrize("built", ALL)
def test_the_machine_must_be_the_images(built: str, wanted: str) -> None:
    if built == wanted:
        check(elf(built), wanted)
        return
    with pytest.raises(BuildError) as caught:
        check(elf(built), wanted)
    assert caught.value.message == f"the agent x is built for {built}, and the image for {wanted}"


@pytest.mark.skipif(platform.machine() not in HOST, reason="this machine's architecture is not in the table")
def test_a_real_program_of_this_machine() -> None:
    content = Content.whole(HostFileSource(Path("/proc/self/exe").resolve()))
    here = HOST[platform.machine()]
    check_program(content, Platform("linux", here), "python")
    other = next(one for one in HOST.values() if one != here)
    with pytest.raises(BuildError, match=f"python is built for {here}, and the image for {other}"):
        check_program(content, Platform("linux", other), "python")


def test_an_architecture_that_is_not_known_passes() -> None:
    check(elf("amd64"), "loong64")


def test_a_machine_that_is_not_known_is_named_by_its_number() -> None:
    with pytest.raises(BuildError, match="the agent x is built for machine 258, 64-bit, and the image for amd64"):
        check(elf("amd64")[:18] + struct.pack("<H", 258) + bytes(44), "amd64")


def test_a_script_runs_anywhere() -> None:
    check(b"#!/bin/sh\n", "arm64")


@pytest.mark.parametrize("data", [b"", b"#", b"\x7fELF", elf("amd64")[:19], b"<!DOCTYPE html>", b"MZ" + bytes(100)])
def test_what_no_kernel_runs(data: bytes) -> None:
    with pytest.raises(BuildError, match="the agent x is no program: it is neither an ELF file nor a script with #!"):
        check(data, "amd64")
