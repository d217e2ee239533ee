"""One image in every format holds one tree.

What the kernel shows of an artifact is compared with umoci's unpack of the same image, inode by inode, where neither side is
ours: umoci reads the layers and the kernel reads the artifact. And what each driver reads back is compared with the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fledge.testing.oracles import mounted, need_root, need_tool, run, treediff
from fledge.testing.project import Project, loadable
from fledge.testing.shared import once
from fledge.testing.tars import archive, base256, header, member, padded, pax
from fledge.testing.trees import CAP_NET_RAW, MINIMAL_ACL, data

INSTALLED = loadable("filesystem")
FORMATS = [name for name in INSTALLED if name != "cpio"]
"""What the kernel mounts."""
NOW = 1_650_000_000
CREATED = 1_735_689_600
"""What the config of the Debian image says."""


def directory(name: str, mode: int = 0o755, **fields: object) -> bytes:
    return header(name.encode(), b"5", **{"mode": mode, "mtime": NOW, **fields})  # type: ignore[arg-type]


def file(name: str, content: bytes = b"", **fields: object) -> bytes:
    return member(name.encode(), content, **{"mtime": NOW + len(name), **fields})


def link(flag: bytes, name: str, target: str) -> bytes:
    return header(name.encode(), flag, mode=0o777, mtime=NOW + 3, link=target.encode())


def device(name: str, flag: bytes, numbers: tuple[int, int] = (0, 0)) -> bytes:
    return header(name.encode(), flag, mode=0o620, uid=1, gid=5, mtime=NOW + 4, device=numbers)


def xattrs(**values: bytes) -> bytes:
    return pax(*((b"SCHILY.xattr." + name.replace("__", ".").encode(), value) for name, value in values.items()))


def hard_layers(*, acls: bool) -> tuple[bytes, ...]:
    """`acls`: squashfs holds no POSIX ACLs."""
    odd = [b"\xff\xfe", b"new\nline", b" ", b"...", b"-rf", b"back\\slash", b".wh", "naïve".encode(), b"x" * 255]
    lowest = archive(
        directory("./", 0o711, uid=3, gid=4),
        directory("etc/"),
        file("etc/passwd", b"root:x:0:0\n", mode=0o600, uid=1, gid=2),
        directory("usr"),
        directory("usr/bin", 0o1777, uid=5, gid=6),
        file("usr/bin/su", data(70_000, 1), mode=0o4755),
        file("usr/bin/all", b"x", mode=0o7777, uid=65_535, gid=65_536),
        link(b"1", "usr/bin/su2", "usr/bin/su"),
        link(b"2", "bin", "usr/bin"),
        file("bin/through-the-link", b"bin"),
        link(b"2", "escape", "../../../etc/shadow"),
        link(b"2", "long-link", "t/" * 45),
        directory("lib"),
        file("lib/shared", data(9000, 2)),
        link(b"1", "lib/name2", "lib/shared"),
        link(b"1", "lib/name3", "lib/shared"),
        link(b"1", "lib/symlink2", "escape"),
        directory("dev", 0o755),
        device("dev/null", b"3", (1, 3)),
        device("dev/disk", b"4", (259, 70_000)),
        device("dev/pipe", b"6"),
        directory("gone"),
        directory("gone/below"),
        file("gone/below/file", b"1"),
        directory("opaque"),
        file("opaque/old", b"2"),
        directory("opaque/kept"),
        file("opaque/kept/old", b"3"),
        directory("becomes-a-file"),
        file("becomes-a-file/x", b"4"),
        file("becomes-a-folder", b"5"),
        file("overwritten", b"lower"),
        directory("x"),
        xattrs(user__plain=b"value", trusted__binary=bytes(range(256))),
        file("x/file", b"x"),
        xattrs(security__capability=CAP_NET_RAW),
        file("x/ping", b"ping", mode=0o755),
        xattrs(user__folder=b"a\nb\0c"),
        directory("x/folder", 0o700),
        *((xattrs(system__posix_acl_access=MINIMAL_ACL), file("x/acl", b"acl", mode=0o640)) if acls else ()),
        directory("odd"),
        *(pax((b"path", b"odd/" + name)) + file("-", name) for name in odd),
        file("ids", uid=base256(4_294_967_294, 8), gid=base256(3_000_000, 8)),
        file("later", mtime=2**31 + 5),
    )
    sparse = archive(
        pax(
            *((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"sparse")),
            (b"GNU.sparse.realsize", b"%d" % (64 << 20)),
        ),
        file("-", padded(b"2\n4096\n3\n%d\n5\n" % (32 << 20)) + b"abcdefgh"),
    )
    middle = archive(
        file(".wh.gone"),
        directory("opaque", 0o750, uid=9),
        file("opaque/.wh..wh..opq"),
        file("opaque/new", b"6"),
        file("becomes-a-file", b"7"),
        directory("becomes-a-folder", 0o500),
        file("becomes-a-folder/y", b"8"),
        file("overwritten", b"upper", mode=0o640),
        file("lib/.wh.name2"),
        link(b"1", "usr/bin/across-layers", "lib/shared"),
        directory("many"),
        *(file(f"many/{number:04}", b"%d" % number) for number in range(600)),
    )
    last = archive(
        directory("gone", 0o711), file("gone/again", b"9"), file("lib/name3", b"its own now"), file("many/.wh.0007")
    )
    return lowest, sparse, middle, last


def built(project: Project, filesystem: str) -> Path:
    project.config(filesystem, more="compression_level = 3\n" if filesystem == "squashfs" else "")
    return Path(project.build()["artifact"])


def unpacked(layout: Path, folder: Path) -> Path:
    need_root()
    need_tool("umoci")
    run("umoci", "unpack", "--image", f"{layout}:latest", folder)
    return folder / "rootfs"


def compared(artifact: Path, filesystem: str, rootfs: Path) -> list[str]:
    # Fledge's own: the saved config of the image (spec section 4), and the guest init with what it is told.
    options = ["--ignore", "etc/fsify-entrypoint", "--ignore", ".fledge"]
    if filesystem == "ext4":
        options += ["--ignore", "lost+found"]  # Of every ext4: e2fsck makes it where it is missing.
    elif filesystem == "squashfs":
        options.append("--whole-seconds")  # All that it holds (spec section 10).
    with mounted(artifact, filesystem) as folder:
        found = treediff(rootfs, folder, *options)
    if filesystem == "xfs":  # It shows an ACL a second time, in the form in which it keeps it.
        found = [line for line in found if "trusted.SGI_ACL_FILE" not in line and line != "1 differences"]
    return found


@pytest.mark.parametrize("filesystem", FORMATS)
def test_the_hard_image(project: Project, filesystem: str) -> None:
    need_root()
    layout = project.image(*hard_layers(acls=filesystem != "squashfs"))
    artifact = built(project, filesystem)
    rootfs = unpacked(layout, project.folder / "bundle")
    assert compared(artifact, filesystem, rootfs) == []
    with mounted(artifact, filesystem) as folder:
        assert int(folder.stat().st_mtime) == NOW
        assert (folder / "sparse").stat().st_size == 64 << 20
        if filesystem != "erofs":  # Its driver in the kernel counts holes as blocks (fs/erofs/inode.c).
            assert (folder / "sparse").stat().st_blocks * 512 <= 1 << 20
        assert (folder / "usr/bin/across-layers").stat().st_nlink == 2
    assert_clean(artifact, filesystem)


def assert_clean(artifact: Path, filesystem: str) -> None:
    unpacked = str(artifact.parent / "unsquashed")
    program, package, *options = {
        "ext4": ("e2fsck", "e2fsprogs", "-fn"),
        "squashfs": ("unsquashfs", "squashfs-tools", "-strict-errors", "-no-progress", "-d", unpacked),
        "xfs": ("xfs_repair", "xfsprogs", "-n"),
        "btrfs": ("btrfs", "btrfs-progs", "check"),
        "erofs": ("fsck.erofs", "erofs-utils"),
    }[filesystem]
    run(need_tool(program, package), *options, artifact)


@pytest.mark.parametrize("filesystem", FORMATS)
def test_the_comparison_can_fail(project: Project, filesystem: str) -> None:
    layout = project.image(*hard_layers(acls=False))
    rootfs = unpacked(layout, project.folder / "bundle")
    (rootfs / "etc" / "passwd").chmod(0o644)
    os.utime(rootfs / "lib" / "shared", (NOW, NOW))
    os.setxattr(rootfs / "x" / "ping", "user.more", b"1")
    os.unlink(rootfs / "usr" / "bin" / "su2")
    (rootfs / "usr" / "bin" / "su2").write_bytes((rootfs / "usr" / "bin" / "su").read_bytes())
    found = "\n".join(compared(built(project, filesystem), filesystem, rootfs))
    for what in ("/etc/passwd: mode", "/lib/shared: mtime", "/x/ping: xattrs", "hard links only in B: [b'usr/bin/su'"):
        assert what in found


def seen(project: Project, filesystem: str, *, as_cpio: bool) -> dict[str, dict[str, Any]]:
    """What the driver reads back of the hard image, once it was found to be what was merged."""
    more = 'xattrs = "drop"' if filesystem == "cpio" else ""
    project.config(filesystem, more=more)
    artifact = project.build("-o", f"{filesystem}.img")["artifact"]
    assert project.run("verify", artifact, "-c", "fledge.toml").stdout == ""
    inside = project.inside(artifact)
    if as_cpio:  # It is told to drop xattrs, and the kernel makes a symlink for each entry.
        for facts in inside.values():
            facts["xattrs"] = {}
            if facts["type"] == "symlink":
                facts.pop("hard_link_to", None)
    return inside


@pytest.mark.parametrize("filesystem", INSTALLED)
def test_every_format_holds_the_same_tree(project: Project, filesystem: str) -> None:
    project.image(*hard_layers(acls=False))
    tree = seen(project, "ext4", as_cpio=filesystem == "cpio")
    assert len(tree) > 640
    if filesystem != "ext4":
        assert seen(project, filesystem, as_cpio=filesystem == "cpio") == tree


TOO_MUCH = {
    "squashfs": (b"x/acl", (b"SCHILY.xattr.system.posix_acl_access", MINIMAL_ACL), {}, "system.posix_acl_access"),
    "cpio": (b"x/ping", (b"SCHILY.xattr.security.capability", CAP_NET_RAW), {}, "security.capability"),
    "xfs": (b"x/link", (b"linkpath", b"t" * 2000), {"flag": b"2"}, "2000"),
    "btrfs": (b"x/large", (b"SCHILY.xattr.user.large", data(17_000)), {}, "user.large"),
    "ext4": (b"x/large", (b"SCHILY.xattr.user.large", data(17_000)), {}, "user.large"),
    "erofs": (b"x/large", (b"SCHILY.xattr.user.large", data(66_000)), {}, "user.large"),
}


@pytest.mark.parametrize("filesystem", INSTALLED, ids=lambda name: f"case_079-{name}")
def test_what_a_format_can_not_hold_is_an_error_with_its_path(project: Project, filesystem: str) -> None:
    path, record, fields, named = TOO_MUCH[filesystem]
    project.image(archive(directory("x"), pax(record) + header(path, **fields)))  # type: ignore[arg-type]
    project.config(filesystem)
    said = project.run("build", code=1).stderr
    assert f"/{path.decode()}" in said
    assert named in said
    assert not list(project.folder.glob("*.img"))
    assert project.leftovers() == []


@pytest.fixture(scope="session")
def nginx_rootfs(nginx: Path) -> Iterator[Path]:
    def make(folder: Path) -> None:
        rootfs = unpacked(nginx, folder / "bundle")
        # No layer of it lists the root. umoci gives it 0, Fledge the image's `created` (spec section 10).
        os.utime(rootfs, (CREATED, CREATED))

    with once("nginx-rootfs", make) as folder:
        yield folder / "bundle" / "rootfs"


@pytest.mark.parametrize("filesystem", FORMATS)
def test_a_real_debian_image(project: Project, nginx: Path, nginx_rootfs: Path, filesystem: str) -> None:
    (project.folder / "image").rename(project.folder / "small")
    (project.folder / "image").symlink_to(nginx)
    artifact = built(project, filesystem)
    assert compared(artifact, filesystem, nginx_rootfs) == []
    inside = project.inside(artifact)
    assert len(inside) > 6000
    assert json.loads(project.cat(artifact, "/etc/fsify-entrypoint"))["config"]["Entrypoint"] == ["/usr/sbin/nginx"]
    if filesystem != "squashfs":
        assert_clean(artifact, filesystem)
