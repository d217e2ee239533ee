"""What every Linux system has, where the image does not: folders, the first devices, root's account."""

from __future__ import annotations

from typing import Final

from fledge.tree.content import Content
from fledge.tree.inode import CharDevice, Directory, File
from fledge.tree.tree import Tree
from fledge.values import GuestPath

# Filesystem Hierarchy Standard 3.0, chapters 3 to 5; /proc and /sys of its chapter 6.
_FOLDERS: Final = {
    0o755: """
        /bin /dev /etc /home /lib /mnt /opt /proc /run /sbin /srv /sys
        /usr /usr/bin /usr/lib /usr/local /usr/local/bin /usr/local/lib /usr/local/sbin /usr/sbin /usr/share
        /var /var/cache /var/lib /var/log /var/spool
    """,
    0o700: "/root",
    0o1777: "/tmp /var/tmp",  # noqa: S108 - the guest's
}

# The kernel opens /dev/console before it starts /init, and a program that is process 1 itself may never mount devtmpfs.
# The others are those of every container (runtime-spec config-linux.md, "Default Devices"), with the numbers of
# Documentation/admin-guide/devices.txt.
_DEVICES: Final = {
    "/dev/console": (5, 1, 0o600),
    "/dev/null": (1, 3, 0o666),
    "/dev/zero": (1, 5, 0o666),
    "/dev/full": (1, 7, 0o666),
    "/dev/random": (1, 8, 0o666),
    "/dev/urandom": (1, 9, 0o666),
    "/dev/tty": (5, 0, 0o666),
}

_FILES: Final = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}


def add_skeleton(tree: Tree) -> None:
    """Adds what is missing. What the image has stays as it is, symlinks such as /bin -> usr/bin among it."""
    epoch = tree.epoch
    for mode, names in _FOLDERS.items():
        for path in map(GuestPath.parse, names.split()):
            if tree.get(path) is None:
                tree.insert(path, Directory(mode, mtime=epoch))
    for name, (major, minor, mode) in _DEVICES.items():
        path = GuestPath.parse(name)
        if tree.get(path) is None:
            tree.insert(path, CharDevice(major, minor, mode, mtime=epoch))
    for name, data in _FILES.items():
        path = GuestPath.parse(name)
        if tree.get(path) is None:
            tree.insert(path, File(Content.of(data), 0o644, mtime=epoch))
