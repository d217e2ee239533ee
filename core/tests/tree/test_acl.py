from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from fledge.testing.oracles import need_tool, run
from fledge.testing.trees import MINIMAL_ACL
from fledge.tree import acl


def test_what_setfacl_makes_is_read_and_written_the_same(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o640)
    run(need_tool("setfacl", "acl"), "-m", "u:1000:rw,g:2000:r", file)
    value = os.getxattr(file, acl.NAMES[0])
    found = acl.entries(value)
    assert found == [
        (0x01, 6, acl.NO_ID), (0x02, 6, 1000), (0x04, 4, acl.NO_ID), (0x08, 4, 2000), (0x10, 6, acl.NO_ID), (0x20, 0, acl.NO_ID),
    ]  # fmt: skip
    assert acl.value_of(found) == value


def test_an_entry_that_names_nobody_has_no_id() -> None:
    assert acl.entries(struct.pack("<IHHI", 2, 0x01, 7, 5)) == [(0x01, 7, acl.NO_ID)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "is not a POSIX ACL of version 2"),
        (struct.pack("<I", 1), "is not a POSIX ACL of version 2"),
        (MINIMAL_ACL[:-1], "is not a POSIX ACL of version 2"),
        (struct.pack("<IHHI", 2, 3, 7, 0), "has an ACL entry of the unknown kind 0x3"),
    ],
)
def test_what_is_no_acl(value: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        acl.entries(value)
