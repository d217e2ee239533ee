from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.testing.conformance import packing
from fledge.testing.oracles import need_tool
from fledge.testing.oracles import run as run_tool
from fledge.testing.trees import hard_tree
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree

Pack = Callable[..., Path]
Fsck = Callable[[Path], None]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree as the build does: `pack(tree, name="t.img", epoch=None, size_buffer_mb=...)`."""

    def run(tree: Tree, name: str = "t.img", epoch: int | None = None, **options: object) -> Path:
        packed = packing.pack("xfs", options, tree, tmp_path, file_name=name, epoch=epoch, hashed=False)
        assert packed.artifact.size == packed.path.stat().st_size
        return packed.path

    return run


@pytest.fixture
def fsck() -> Fsck:
    """Fails unless xfs_repair finds nothing at all to say against an image."""
    xfs_repair = need_tool("xfs_repair", "xfsprogs")

    def run(image: Path) -> None:
        run_tool(xfs_repair, "-n", "-f", image)

    return run


@pytest.fixture
def hard() -> Callable[[], Tree]:
    """Makes the hard tree without the two things that XFS can't hold: a symlink's 4095 bytes, and the largest devices."""

    def make() -> Tree:
        tree = hard_tree()
        for folder, name in ((b"links", b"s4095"), (b"special", b"large-minor")):
            below = tree.root.entries[folder]
            assert isinstance(below, Directory)
            del below.entries[name]
        return tree

    return make


@pytest.fixture
def shown() -> Callable[[Tree], Tree]:
    """Adds to a tree what the kernel shows to root beside it: a POSIX ACL under the name that XFS keeps it in."""

    def add(tree: Tree) -> Tree:
        for _, inode in tree.walk():
            for name, stored in ((b"access", b"FILE"), (b"default", b"DEFAULT")):
                acl = inode.xattrs.get(b"system.posix_acl_" + name)
                if acl is not None:
                    entries = [struct.unpack_from("<HHI", acl, at) for at in range(4, len(acl), 8)]
                    disk = b"".join([struct.pack(">IIHH", tag, who, perm, 0) for tag, perm, who in entries])
                    count = struct.pack(">I", len(entries))
                    inode.xattrs = {**inode.xattrs, b"trusted.SGI_ACL_" + stored: count + disk}
        return tree

    return add
