"""Same tree and options, same bytes; and what newc can't hold."""

from __future__ import annotations

import pytest
from fledge.errors import BuildError
from fledge.testing.trees import CAP_NET_RAW, EPOCH, data, hard_tree, sparse
from fledge.tree.content import EMPTY, Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from pydantic import ValidationError


def tree_of(**entries):
    root = Directory(0o755, mtime=EPOCH)
    root.entries = {name.encode(): inode for name, inode in entries.items()}
    return Tree(root, EPOCH)


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}], ids=["gzip", "zstd"])
def test_the_bytes_do_not_depend_on_the_cores(pack, options):
    root = Directory(0o755)
    for i in range(40):
        text = b"".join(b"%d and %d\n" % (i, j * j) for j in range(20_000))
        root.entries[b"%d" % i] = File(Content.of(text + data(100_000, i)), 0o644)
    archives = {pack(Tree(root), jobs=jobs, **options).read_bytes() for jobs in (1, 2, 3, 7)}
    assert len(archives) == 1


def test_the_bytes_do_not_depend_on_the_order_of_entries(pack):
    def reversed_(folder):
        folder.entries = dict(reversed(folder.entries.items()))
        for inode in folder.entries.values():
            if isinstance(inode, Directory):
                reversed_(inode)

    tree, other = hard_tree(), hard_tree()
    reversed_(other.root)
    assert pack(tree, xattrs="drop").read_bytes() == pack(other, xattrs="drop").read_bytes()


@pytest.mark.parametrize(
    ("size", "fits"),
    [pytest.param(2**32 - 1, True, id="case_081-largest"), pytest.param(2**32, False, id="case_081-too-large")],
)
def test_files_of_4_gib_are_refused(pack, size, fits, tmp_path):
    from fledge_fs_cpio.writer import take_inventory

    tree = tree_of(disk=File(sparse(size), 0o644))
    if fits:
        assert take_inventory(tree).size > size
        return
    with pytest.raises(BuildError, match=r"^/disk has 4294967296 bytes; .* up to 4294967295"):
        pack(tree)


@pytest.mark.parametrize(
    ("length", "fits"), [pytest.param(4095, True, id="case_082-4095"), pytest.param(4096, False, id="case_082-4096")]
)
def test_paths_over_path_max_are_refused(pack, length, fits):
    root = folder = Directory(0o755)
    left = length
    while left > 256:
        below = Directory(0o755)
        folder.entries[b"d" * 200] = below
        folder, left = below, left - 201
    folder.entries[b"f" * left] = File(EMPTY, 0o644)
    if fits:
        pack(Tree(root))
        return
    with pytest.raises(BuildError, match=r"^/d+\.\.\. has 4096 bytes; the kernel takes up to 4095"):
        pack(Tree(root))


def test_xattrs_are_an_error_that_names_the_path(pack):
    tree = tree_of(ping=File(EMPTY, 0o755, xattrs={b"security.capability": CAP_NET_RAW}))
    with pytest.raises(BuildError, match=r"^/ping has the extended attribute security.capability; cpio") as caught:
        pack(tree)
    assert 'xattrs = "drop"' in str(caught.value.hint)


def test_dropped_xattrs_are_told(pack, fledge_log):
    pack(tree_of(a=File(EMPTY, 0o755, xattrs={b"user.b": b"", b"user.a": b""}), b=File(EMPTY, 0o644)), xattrs="drop")
    assert fledge_log.texts("warning") == [
        "extended attributes are left out: /a has the extended attribute user.a; cpio (newc) can't hold them"
    ]
    pack(hard_tree(), xattrs="drop")
    assert "more have some" in fledge_log.texts("warning")[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression_level": 0}, "allowed are 1 to 9"),
        ({"compression_level": 10}, "allowed are 1 to 9"),
        ({"compression": "zstd", "compression_level": 23}, "allowed are 1 to 22"),
        ({"compression": "none", "compression_level": 1}, "remove it"),
        ({"compression": "xz"}, "gzip"),
        ({"xattrs": "keep"}, "drop"),
    ],
)
def test_options_that_are_refused(pack, options, message):
    with pytest.raises(ValidationError, match=message):
        pack(tree_of(), **options)
