"""The applets of a busybox, read from the binary; `busybox --list-full` is the oracle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fledge.testing.oracles import need_tool
from fledge_strategy_initramfs.applets import PLACES
from fledge_strategy_initramfs.busybox import applet_names


def table(*names: str) -> bytes:
    return b"".join(name.encode() + b"\0" for name in names) + b"\0"


def test_the_names_and_places_are_those_that_it_lists_itself():
    busybox = need_tool("busybox", "busybox-static")
    listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    names = applet_names(Path(busybox).read_bytes())
    assert names == [path.rpartition("/")[2] for path in listed]
    # It moved to /usr/bin after 1.35.
    assert {PLACES[name] for name in names} ^ {f"/{path}" for path in listed} <= {"/bin/readlink", "/usr/bin/readlink"}


@pytest.mark.parametrize(
    ("binary", "names"),
    [
        (table("[", "[[", "ash", "cat", "sh"), ["[", "[[", "ash", "cat", "sh"]),
        (b"\x7fELF" + bytes(9) + b"\xff\x00zebra\0" + table("ash", "cat", "sh") + b"text", ["ash", "cat", "sh"]),
        (table("abc", "def", "ls") + b"\xff" + table("ash", "cat", "my-own", "sh"), ["ash", "cat", "my-own", "sh"]),
        (table("ash", "cat", "fsck.minix", "mkfs.ext2", "sh") * 2, ["ash", "cat", "fsck.minix", "mkfs.ext2", "sh"]),
    ],
)
def test_a_table_among_other_words(binary, names):
    assert applet_names(binary) == names


@pytest.mark.parametrize(
    "binary",
    [
        b"",
        bytes(1000),
        table("w"),
        table("HUP", "INT"),
        table("ash", "cat"),
        table("alpha", "beta", "cat", "delta", "echo", "gamma", "ls"),
        b"ash\0cat\0sh\0",
    ],
)
def test_no_table(binary):
    with pytest.raises(ValueError, match="it has no table of applets"):
        applet_names(binary)


@pytest.mark.parametrize("program", ["bash", "perl", "git", "tar"])
def test_other_programs_have_none(program):
    with pytest.raises(ValueError, match="it has no table of applets"):
        applet_names(Path(need_tool(program)).read_bytes())


def test_places():
    assert len(PLACES) == len(set(PLACES.values())) > 380
    assert all(path.endswith(f"/{name}") for name, path in PLACES.items())
