"""Steps in real machines: what they change, as a filesystem without overlays has it after the same commands."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fledge.testing.boots import need_kernel
from fledge.testing.oracles import need_root, need_tool
from fledge.tree.content import Content
from fledge.tree.inode import BlockDevice, CharDevice, Device, Directory, Fifo, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge_builder_microvm.changes import Change, Opaque, Put, Remove

PATH = {"PATH": "/bin"}

BASE = """
mkdir -p etc/deep/er keep gone/below again/old moved/in full many odd 'sp ace'
echo one >etc/one; echo two >etc/two; echo three >etc/deep/er/three; echo x >gone/below/x; echo y >gone/y
echo old >again/old/file; echo old2 >again/file; echo in >moved/in/file; echo kept >keep/kept
echo linked >full/a; ln full/a full/b; ln full/a keep/c
echo own >etc/owned; echo mode >etc/moded; echo cap >etc/capped; echo acl >etc/acled; echo away >etc/away
ln -s one etc/link; ln -s moved moved-link; mkfifo full/fifo; mknod full/null c 1 3
echo file-then-dir >etc/becomes-dir; mkdir etc/becomes-file; echo z >etc/becomes-file/z
printf 'root:x:0:0::/root:/bin/sh\\nweb:x:1000:1000::/srv/web:/bin/sh\\nnobody:x:65534:65534::/:/bin/false\\n' >etc/passwd
printf 'root:x:0:\\nweb:x:1000:\\nstaff:x:50:web\\n' >etc/group
i=0; while [ $i -lt 300 ]; do echo $i >many/f$i; i=$((i+1)); done
find . ! -type l -exec touch -d @1000000000 {} +
chmod 755 .; touch -d @1000000000 .
"""

SCRIPT = r"""
set -e
echo new >etc/new; mkdir -p opt/a/b/c; echo deep >opt/a/b/c/file; touch -d @1234567890 opt/a/b/c/file
echo changed >>etc/one; touch -d @1111111111 etc/two
chmod 4755 etc/moded; chown 1000:50 etc/owned; chmod 2775 etc/deep; chown 65534:4294967294 opt/a
setcap cap_net_raw+ep etc/capped
setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000000ffffffff etc/acled
setfattr -n user.note -v hello etc/acled; setfattr -n trusted.mine -v 1 opt; setfattr -n user.long -v "$(printf %01500d 7)" opt/a/b
ln etc/new opt/new-link; ln etc/new opt/a/new-link; ln keep/kept keep/kept2
echo more >>full/a
ln -s ../etc/one opt/link; ln -s "$(printf %0200d 1)" opt/long-link; touch -h -d @99 opt/link
mknod opt/zero c 1 5; mknod opt/disk b 8 17; mkfifo -m 622 opt/pipe; chmod 600 opt/zero
rm etc/away; rm -r gone
rm -r again; mkdir again; echo fresh >again/fresh
mv etc/deep/er/three etc/three-moved; mv moved renamed; mv etc/link etc/relinked
rm etc/becomes-dir; mkdir etc/becomes-dir; echo in >etc/becomes-dir/in
rm -r etc/becomes-file; echo now >etc/becomes-file
dd if=/dev/zero of=opt/sparse bs=1 count=1 seek=5000000 2>/dev/null; printf tail | dd of=opt/sparse bs=1 seek=9000000 conv=notrunc 2>/dev/null
truncate -s 70000000 opt/hole; : >opt/empty
mkdir opt/sticky; chmod 1777 opt/sticky; mkdir opt/closed; chmod 0 opt/closed; echo s >opt/setuid; chmod 6711 opt/setuid
echo a >"$(printf 'opt/new\nline')"; echo b >"$(printf 'opt/\377\376')"; echo c >"opt/sp ace"; echo d >opt/-dash; echo e >opt/'*'
echo long >opt/"$(printf %0255d 1)"
i=0; while [ $i -lt 100 ]; do rm many/f$i; i=$((i+1)); done
i=0; while [ $i -lt 400 ]; do echo n$i >many/n$i; i=$((i+1)); done
mkdir temporary; echo t >temporary/t; rm -r temporary
touch -d @1500000000 opt; touch -d @1000000000 etc
"""


def fill(folder: Path) -> None:
    """busybox and the programs for attributes with their libraries, and the script's victims."""
    busybox = need_tool("busybox", "busybox-static")
    programs = [need_tool("setcap", "libcap2-bin"), need_tool("setfattr", "attr")]
    (folder / "bin").mkdir()
    shutil.copy(busybox, folder / "bin/busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (folder / "bin" / name).symlink_to("busybox")
    for program in programs:
        shutil.copy(program, folder / "bin")
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            place = folder / library[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(library), place)
    in_chroot(folder, BASE)


def in_chroot(folder: Path, script: str) -> None:
    argv = [need_tool("chroot", "coreutils"), str(folder), "/bin/sh", "-c", script]
    with devices(folder):
        done = subprocess.run(argv, env=PATH, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def devices(folder: Path) -> Iterator[None]:
    """What scripts need of /dev, gone afterwards."""
    dev, times = folder / "dev", folder.stat()
    dev.mkdir()
    os.mknod(dev / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(dev / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    try:
        yield
    finally:
        shutil.rmtree(dev)
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def tree_of(folder: Path) -> Tree:
    """The folder as the layers of an image would give it."""
    known: dict[int, Inode] = {}

    def inode_at(path: bytes) -> Inode:
        status = os.lstat(path)
        if status.st_ino in known:
            return known[status.st_ino]
        mode, uid, gid, mtime = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns
        names = os.listxattr(path, follow_symlinks=False)
        xattrs = {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names}
        rest = (mode, uid, gid, mtime, xattrs)
        inode: Inode
        match stat.S_IFMT(status.st_mode):
            case stat.S_IFDIR:
                inode = Directory(*rest)
                inode.entries = {name: inode_at(path + b"/" + name) for name in os.listdir(path)}
            case stat.S_IFREG:
                inode = File(Content.of(Path(os.fsdecode(path)).read_bytes()), *rest)
            case stat.S_IFLNK:
                inode = Symlink(os.readlink(path), *rest)
            case stat.S_IFIFO:
                inode = Fifo(*rest)
            case kind:
                device = CharDevice if kind == stat.S_IFCHR else BlockDevice
                inode = device(os.major(status.st_rdev), os.minor(status.st_rdev), *rest)
        known[status.st_ino] = inode
        return inode

    root = inode_at(os.fsencode(folder))
    assert isinstance(root, Directory)
    return Tree(root)


def applied(changes: Sequence[Change], tree: Tree) -> Tree:
    """The tree that a layer of the changes makes (image-spec layer.md, "Applying Changesets")."""
    root = copy(tree.root)

    def parent_of(path: bytes) -> tuple[Directory, bytes]:
        *folders, name = path.split(b"/")
        here = root
        for one in folders:
            below = here.entries[one]
            assert isinstance(below, Directory), path
            here = below
        return here, name

    for change in changes:
        if isinstance(change, Put) and not change.path:
            continue
        folder, name = parent_of(change.path)
        match change:
            case Put(_, inode):
                old = folder.entries.get(name)
                if isinstance(inode, Directory):
                    inode = Directory(inode.mode, inode.uid, inode.gid, inode.mtime, inode.xattrs)
                    inode.entries = old.entries if isinstance(old, Directory) else {}
                folder.entries[name] = inode
            case Remove():
                del folder.entries[name]
            case Opaque():
                below = folder.entries[name]
                assert isinstance(below, Directory)
                below.entries = {}
    return Tree(root)


def copy(folder: Directory) -> Directory:
    new = Directory(folder.mode, folder.uid, folder.gid, folder.mtime, folder.xattrs)
    new.entries = {
        name: copy(inode) if isinstance(inode, Directory) else inode for name, inode in folder.entries.items()
    }
    return new


def facts(tree: Tree) -> dict[bytes, tuple[Any, ...]]:
    """What a tree has at each path; times only where they were set."""
    names: dict[int, bytes] = {}
    found = {}
    for path, inode in tree.walk():
        first = names.setdefault(id(inode), path)
        content: object = None
        if isinstance(inode, File):
            content = inode.content.read()
        elif isinstance(inode, Symlink):
            content = inode.target
        elif isinstance(inode, Device):
            content = inode.major, inode.minor
        mtime = inode.mtime if inode.mtime < 1_600_000_000 * 10**9 else "now"
        found[path] = (inode.FORMAT, oct(inode.mode), inode.uid, inode.gid, mtime, dict(inode.xattrs), first, content)
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_root()
    need_kernel()
    folder = tmp_path_factory.mktemp("base")
    folder.chmod(0o755)
    fill(folder)
    return folder


def test_every_kind_of_change_is_as_on_a_plain_filesystem(base: Path, steps, tmp_path: Path) -> None:
    before = tree_of(base)
    facts_before = facts(before)
    changes = steps.run(before, "/bin/sh", "-c", SCRIPT)
    assert facts(before) == facts_before, "the step's tree was changed"
    plain = tmp_path / "plain"
    subprocess.run(["cp", "-a", base, plain], check=True)
    in_chroot(plain, SCRIPT)
    expected, found = facts(tree_of(plain)), facts(applied(changes, before))
    # Overlays break a hard link when one of its names is written to, as every container engine has it.
    assert found[b"full/a"][-1] == b"linked\nmore\n"
    assert found[b"full/b"][-1] == b"linked\n"
    for path in (b"full/a", b"full/b", b"keep/c"):
        del expected[path], found[path]
    assert found.keys() == expected.keys()
    assert {path: (fact, expected[path]) for path, fact in found.items() if fact != expected[path]} == {}
    # Each change counts: without it the comparison fails.
    for missing in (Remove(b"gone"), Opaque(b"again"), *(one for one in changes if one.path == b"etc/moded")):
        assert facts(applied([one for one in changes if one != missing], before)) != facts(applied(changes, before))
    # Nothing more than that: no mount points, nothing that was only looked at.
    paths = {change.path for change in changes}
    assert not {path for path in paths if path.split(b"/")[0] in (b"dev", b"proc", b"sys", b"bin", b"lib")}
    assert Remove(b"gone") in changes
    assert Opaque(b"again") in changes
    assert b"temporary" not in paths
    assert not [change for change in changes if isinstance(change, Opaque) and change.path != b"again"]
    sparse = found_file(changes, b"opt/sparse")
    assert sum(piece.length for piece in sparse.content.pieces) < 100_000
    assert not found_file(changes, b"opt/hole").content.pieces


def found_file(changes: Sequence[Change], path: bytes) -> File:
    (inode,) = [change.inode for change in changes if isinstance(change, Put) and change.path == path]
    assert isinstance(inode, File)
    return inode
