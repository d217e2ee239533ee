"""Trees that hold one of everything, and their comparison with what the kernel shows."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import struct
from collections.abc import Collection, Mapping
from pathlib import Path

from fledge.tree.content import EMPTY, Content, MemorySource, Piece
from fledge.tree.inode import NO_XATTRS, CharDevice, Device, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.inode import BlockDevice as BlockDevice
from fledge.tree.tree import Tree
from fledge.values import show_path

SECOND = 10**9
EPOCH = 1_700_000_000 * SECOND

CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
"""security.capability as setcap writes it: VFS_CAP_REVISION_2, effective, cap_net_raw permitted."""


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL in the form of getxattr(2): version 2, then (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


MINIMAL_ACL = acl((1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))


def data(size: int, seed: int = 0) -> bytes:
    """`size` bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def sparse(size: int, *pieces: tuple[int, bytes]) -> Content:
    """A file of `size` bytes with data only at the given offsets."""
    return Content(size, tuple(Piece(offset, MemorySource(part), 0, len(part)) for offset, part in pieces))


def hard_tree(*, block: int = 4096, nanoseconds: bool = True, acls: bool = True) -> Tree:
    """Every kind of inode and metadata, with sizes around `block`.

    `nanoseconds`, `acls`: whether the format under test holds sub-second times and POSIX ACLs.
    """
    part = 123_456_789 if nanoseconds else 0
    root = Directory(0o755, mtime=EPOCH)
    tree = Tree(root, epoch=EPOCH)

    def add(folder: Directory, name: str | bytes, inode: Inode) -> None:
        folder.entries[name.encode() if isinstance(name, str) else name] = inode

    sizes = Directory(0o750, 1, 2, EPOCH + part)
    add(root, "sizes", sizes)
    for size in (0, 1, 59, 60, 61, block - 1, block, block + 1, 3 * block, 16 * block + 5, 1_000_003):
        add(sizes, f"f{size}", File(Content.of(data(size, size)), 0o644, mtime=EPOCH + size * SECOND))
    add(sizes, "zeros", File(Content.of(bytes(5 * block + 7)), 0o600))
    add(sizes, "text", File(Content.of(b"the same line again\n" * 40_000), 0o444))
    add(sizes, "twin1", File(Content.of(data(3 * block + 9, 77)), 0o644, mtime=1))
    add(sizes, "twin2", File(Content.of(data(3 * block + 9, 77)), 0o600, 7, 7, 2 * SECOND))

    holes = Directory(0o755)
    add(root, "holes", holes)
    add(holes, "all", File(sparse(10 * block), 0o644))
    add(holes, "start", File(sparse(9 * block + 1, (8 * block, data(block + 1, 5))), 0o644))
    add(holes, "end", File(sparse(300 * block, (0, data(100, 6))), 0o644))
    add(holes, "odd", File(sparse(40 * block, (block + 17, data(5, 7)), (20 * block + 1, data(2 * block, 8))), 0o644))
    many = [(i * 4 * block, data(block, i)) for i in range(12)]
    add(holes, "many", File(sparse(64 * block, *many), 0o644))

    owners = Directory(0o1777, mtime=EPOCH)
    add(root, "owners", owners)
    for mode in (0o0, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777):
        add(owners, f"m{mode:o}", File(Content.of(b"x"), mode))
    for number in (65_534, 65_535, 65_536, 100_000, 2**32 - 2):
        add(owners, f"u{number}", File(Content.of(b"y"), 0o644, number, number - 1))
    add(owners, "sgid", Directory(0o2775, 5, 6, EPOCH))

    times = Directory(0o755, mtime=0)
    add(root, "times", times)
    for moment in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        add(times, f"t{moment}", File(Content.of(b"t"), 0o644, mtime=moment * SECOND + part))

    links = Directory(0o755)
    add(root, "links", links)
    for length in (1, 59, 60, 61, 300, 1023, 4095):
        add(links, f"s{length}", Symlink((b"target/" * 600)[:length], mtime=EPOCH + length * SECOND))
    add(links, "absolute", Symlink(b"/etc/../../../outside", uid=3, gid=4))
    add(links, "bytes", Symlink(b"\xff\xfe\n"))
    shared = File(Content.of(data(block * 2, 9)), 0o640, 8, 9, EPOCH)
    for name in ("hard1", "hard2"):
        add(links, name, shared)
    add(sizes, "hard3", shared)
    twice = Symlink(b"hard1", mtime=EPOCH)
    add(links, "linked-symlink1", twice)
    add(links, "linked-symlink2", twice)

    special = Directory(0o755)
    add(root, "special", special)
    add(special, "null", CharDevice(1, 3, 0o666, mtime=EPOCH))
    add(special, "disk", BlockDevice(8, 17, 0o660, 0, 6))
    add(special, "large-minor", CharDevice(4095, 1_048_575, 0o600))
    add(special, "large-block", BlockDevice(259, 70_000, 0o600))
    fifo = Fifo(0o622, mtime=EPOCH)
    add(special, "pipe", fifo)
    add(special, "pipe-again", fifo)
    add(special, "socket", Socket(0o755))

    attributes = Directory(0o755, xattrs={b"user.on-a-folder": b"1", b"trusted.t": b"\0\xff"})
    add(root, "xattrs", attributes)
    values: dict[str, Mapping[bytes, bytes]] = {
        "capability": {b"security.capability": CAP_NET_RAW},
        "empty": {b"user.empty": b""},
        "binary": {b"user.binary": bytes(range(256)), b"user.newline\xc3\xa9": b"a\nb\0c"},
        "several": {b"user.%d" % i: b"v" * i for i in range(20)},
        "large": {b"user.large": data(2000, 3)},
        "same": {b"user.large": data(2000, 3)},
    }
    if acls:
        values["acl"] = {b"system.posix_acl_access": MINIMAL_ACL}
    for name, xattrs in values.items():
        add(attributes, name, File(Content.of(name.encode()), 0o640, xattrs=xattrs))
    add(attributes, "folder", Directory(0o700, xattrs={b"user.folder": b"yes"}))
    add(attributes, "link", Symlink(b"x", xattrs={b"trusted.on-a-link": b"l"}))
    add(attributes, "device", CharDevice(1, 5, 0o666, xattrs={b"trusted.on-a-device": b"d"}))

    names = Directory(0o755)
    add(root, "names", names)
    for raw in (
        b"n" * 255,
        b"\xff\xfe",
        b"new\nline",
        b" ",
        b"...",
        b"-",
        "naïve-файл".encode(),
        b"a\\b",
        b'"quoted"',
        b"*",
    ):
        add(names, raw, File(Content.of(raw), 0o644))
    deep = names
    for _ in range(30):
        below = Directory(0o755)
        add(deep, "d", below)
        deep = below
    many_names = Directory(0o755)
    add(root, "many", many_names)
    for i in range(700):
        add(many_names, f"entry-{i:04}-{'x' * (i % 50)}", File(Content.of(b"%d" % i), 0o644, mtime=EPOCH))
    add(root, "empty", Directory(0o711))
    return tree


def folder_with(entries: Mapping[bytes, Inode], xattrs: Mapping[bytes, bytes] = NO_XATTRS) -> Directory:
    """A directory that has these entries."""
    folder = Directory(0o755, xattrs=xattrs)
    folder.entries.update(entries)
    return folder


def tree_with(entries: Mapping[bytes, Inode]) -> Tree:
    """A tree with these entries in its root."""
    return Tree(folder_with(entries))


def empty_files(count: int) -> Tree:
    """As many empty files in the root: `file-00000` and so on."""
    tree = Tree(Directory(0o755, mtime=EPOCH), epoch=EPOCH)
    for number in range(count):
        tree.root.entries[b"file-%05d" % number] = File(EMPTY, 0o644, mtime=EPOCH)
    return tree


def described(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    """Every path with all there is to its inode, for comparing two trees in memory; hard links share the first path.

    Contents are read, those of less than 64 MiB.
    """
    first: dict[int, bytes] = {}
    return {path: (first.setdefault(id(inode), path), *_describe(inode)) for path, inode in tree.walk()}


def _describe(inode: Inode) -> tuple[object, ...]:
    detail: object = None
    if isinstance(inode, File):
        detail = inode.content.size, inode.content.read() if inode.content.size < 1 << 26 else None
    elif isinstance(inode, Symlink):
        detail = inode.target
    elif isinstance(inode, Device):
        detail = inode.major, inode.minor
    return type(inode), inode.mode, inode.uid, inode.gid, inode.mtime, dict(inode.xattrs), detail


def differences(
    tree: Tree,
    folder: Path,
    *,
    ignore: Collection[bytes] = (),
    kernel_xattrs: Collection[bytes] = (),
    whole_seconds: bool = False,
) -> list[str]:
    """What is not the same in the tree and under a folder of the host, one line each.

    `ignore`: relative paths that only the folder has (lost+found). `kernel_xattrs`: those that the kernel shows although
    nobody set them. `whole_seconds`: the format drops the rest.
    """
    found: list[str] = []
    names: dict[int, set[bytes]] = {}
    numbers: dict[bytes, tuple[int, int]] = {}
    wanted: set[bytes] = set()
    top = os.fsencode(folder)
    for path, inode in tree.walk():
        wanted.add(path)
        names.setdefault(id(inode), set()).add(path)
        full = os.path.join(top, path) if path else top
        try:
            status = os.lstat(full)
        except OSError as error:
            found.append(f"{show_path(path)}: {error.strerror}")
            continue
        numbers[path] = status.st_dev, status.st_ino
        shown = {name: value for name, value in _xattrs(full).items() if name not in kernel_xattrs}
        found += [
            f"{show_path(path)}: {text}" for text in _inode_differences(inode, full, status, shown, whole_seconds)
        ]
    found += [f"{show_path(path)}: not in the tree" for path in _paths(top) - wanted if path not in ignore]
    for group in names.values():
        if len({numbers.get(path) for path in group}) > 1:
            found.append(f"no longer one inode: {sorted(group)!r}")
    if len(set(numbers.values())) != len(names):
        found.append(f"{len(set(numbers.values()))} inodes instead of {len(names)}")
    return found


def _inode_differences(
    inode: Inode, full: bytes, status: os.stat_result, xattrs: Mapping[bytes, bytes], whole_seconds: bool
) -> list[str]:
    unit = SECOND if whole_seconds else 1
    pairs: list[tuple[str, object, object]] = [
        ("type", stat.S_IFMT(inode.FORMAT), stat.S_IFMT(status.st_mode)),
        ("mode", oct(inode.mode), oct(stat.S_IMODE(status.st_mode))),
        ("uid", inode.uid, status.st_uid),
        ("gid", inode.gid, status.st_gid),
        ("mtime", inode.mtime // unit, status.st_mtime_ns // unit),
        ("xattrs", dict(inode.xattrs or NO_XATTRS), xattrs),
    ]
    if isinstance(inode, File) and stat.S_ISREG(status.st_mode):
        pairs.append(("size", inode.content.size, status.st_size))
        if inode.content.size == status.st_size and inode.content.size < 1 << 28:
            pairs.append(("sha256", _sha256(inode.content), _sha256_of(full)))
    elif isinstance(inode, Symlink) and stat.S_ISLNK(status.st_mode):
        pairs.append(("target", inode.target, os.readlink(full)))
    elif isinstance(inode, Device):
        pairs.append(("device", (inode.major, inode.minor), (os.major(status.st_rdev), os.minor(status.st_rdev))))
    return [f"{what}: {ours!r} is {theirs!r} there" for what, ours, theirs in pairs if ours != theirs]


def _xattrs(full: bytes) -> dict[bytes, bytes]:
    try:
        names = os.listxattr(full, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}  # The kernel says so of a whole squashfs in which nothing has any.
    return {os.fsencode(name): os.getxattr(full, name, follow_symlinks=False) for name in names}


def _sha256(content: Content) -> str:
    digest = hashlib.sha256()
    for chunk in content.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _sha256_of(full: bytes) -> str:
    with open(full, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _paths(top: bytes) -> set[bytes]:
    paths = {b""}
    for folder, below, files in os.walk(top):
        prefix = folder[len(top) :].lstrip(b"/")
        paths.update(os.path.join(prefix, name) if prefix else name for name in below + files)
    return paths
