"""What the kernel unpacks, told by a busybox that it starts as /init."""

from __future__ import annotations

import subprocess

import pytest
from fledge.testing.boots import busybox, need_kernel, need_qemu
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.trees import differences, hard_tree
from fledge.tree.content import Content
from fledge.tree.inode import CharDevice, Directory, File
from fledge.tree.tree import Tree

# Everything on the root's filesystem goes out through the second serial port, as a cpio archive of busybox's making.
INIT = b"""#!/busybox sh
/busybox stty -F /dev/ttyS1 raw
/busybox find . -xdev -print0 | /busybox cpio -0 -o -H newc | /busybox gzip -1 > /dev/ttyS1
/busybox stty -F /dev/ttyS1 cooked
/busybox poweroff -f
"""


def bootable(tree: Tree) -> None:
    root, epoch = tree.root, tree.epoch
    dev = Directory(0o755, mtime=epoch)
    dev.entries = {
        b"console": CharDevice(5, 1, 0o600, mtime=epoch),
        b"ttyS1": CharDevice(4, 65, 0o600, mtime=epoch),
    }
    root.entries |= {
        b"dev": dev,
        b"init": File(Content.of(INIT), 0o755, mtime=epoch),
        b"busybox": File(Content.of(busybox()), 0o755, mtime=epoch),
    }


@pytest.mark.timeout(180)
def test_case_082_the_kernel_unpacks_the_tree_that_was_packed(pack, tmp_path):
    """Two archives in one boot: the whole tree in gzip, and a folder of it once more in zstd."""
    need_root()
    need_tool("bsdtar", "libarchive-tools")
    qemu, kernel = need_qemu(), need_kernel()
    tree = hard_tree(nanoseconds=False)
    del tree.root.entries[b"xattrs"]
    sizes, links = tree.root.entries[b"sizes"], tree.root.entries[b"links"]
    assert isinstance(sizes, Directory)
    assert isinstance(links, Directory)
    # The kernel makes two symlinks of an inode with two names; and a serial port is slow.
    for folder, name in ((links, b"linked-symlink2"), (sizes, b"f1000003")):
        del folder.entries[name]
    bootable(tree)
    again = Tree(Directory(0o755, mtime=tree.epoch), tree.epoch)
    second = Directory(0o711, 7, 8, tree.epoch)
    again.root.entries[b"zstd"] = second
    second.entries = {name: File(Content.of(name), 0o640, 1, 2, tree.epoch) for name in (b"a", b"b")}
    second.entries[b"c"] = second.entries[b"a"]
    initrd = tmp_path / "initrd"
    initrd.write_bytes(pack(tree).read_bytes() + pack(again, compression="zstd").read_bytes())

    machine = ["-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot"]
    boot = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet"]
    done = subprocess.run(
        [qemu, *machine, *boot, "-serial", "stdio", "-serial", f"file:{tmp_path}/out.gz"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"rror" not in done.stdout, done.stdout.decode(errors="replace")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["bsdtar", "-xpf", tmp_path / "out.gz", "-C", out, "--numeric-owner"], check=False)

    tree.root.entries |= again.root.entries
    assert [
        line for line in differences(tree, out, ignore={b"root"}, whole_seconds=True) if not line.startswith(KNOWN)
    ] == []


KNOWN = ("/: mtime", "/dev/ttyS1: mtime", "/special/socket: type")
"""Written to after they were unpacked; bsdtar makes no sockets. And /root is the kernel's own (usr/default_cpio_list)."""
