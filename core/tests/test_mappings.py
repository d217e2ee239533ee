from __future__ import annotations

import itertools
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.mappings import apply
from fledge.plan import Mapping
from fledge.testing.oracles import need_root
from fledge.testing.venvs import as_nobody
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath

EPOCH = 1_600_000_000_123_456_789


def image() -> Tree:
    """A root as distributions have it now: merged /usr, and links that lead out where they are followed naively."""
    tree = Tree(Directory(0o755, mtime=1), EPOCH)

    def add(path: str, inode: Inode) -> None:
        tree.insert(GuestPath.parse(path), inode)

    add("/etc", Directory(0o750, 7, 8, 42, {b"user.a": b"b"}))
    add("/etc/hosts", File(Content.of(b"image"), 0o600, 5, 6, 43))
    add("/usr", Directory(0o755))
    add("/usr/bin", Directory(0o755))
    add("/usr/lib", Directory(0o755))
    add("/usr/bin/busybox", File(Content.of(b"busybox"), 0o755))
    add("/bin", Symlink(b"usr/bin"))
    add("/lib", Symlink(b"/usr/lib"))
    add("/usr/bin/ls", Symlink(b"/bin/busybox"))
    add("/escape", Symlink(b"../../../../../../etc"))
    add("/up", Symlink(b"../../usr/../opt"))
    add("/loop", Symlink(b"loop"))
    add("/etc/resolv.conf", Symlink(b"../run/resolv.conf"))
    return tree


def mapping(source: Path, destination: str, origin: str = "fledge.toml") -> Mapping:
    return Mapping(source, GuestPath.parse(destination), destination.endswith("/"), origin)


def mapped(*mappings: Mapping, tree: Tree | None = None) -> Tree:
    tree = tree or image()
    apply(mappings, tree)
    return tree


def at(tree: Tree, path: str) -> Inode | None:
    """By the entries alone, without the look-up that is under test."""
    inode: Inode | None = tree.root
    for part in GuestPath.parse(path).parts:
        assert isinstance(inode, Directory), path
        inode = inode.entries.get(part)
    return inode


def text(tree: Tree, path: str) -> bytes:
    inode = at(tree, path)
    assert isinstance(inode, File), path
    return inode.content.read()


def write(path: Path, data: bytes = b"mapped", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def fails(*mappings: Mapping, tree: Tree | None = None) -> str:
    with pytest.raises(BuildError) as caught:
        mapped(*mappings, tree=tree)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("mode", "destination", "expected"),
    [
        (0o644, "/srv/file", 0o644),
        (0o600, "/srv/file", 0o644),
        (0o666, "/srv/file", 0o644),
        (0o444, "/srv/file", 0o644),
        (0o755, "/srv/file", 0o755),
        (0o700, "/srv/file", 0o755),
        (0o555, "/srv/file", 0o755),
        (0o601, "/srv/file", 0o755),
        (0o4755, "/srv/file", 0o755),
        (0o2644, "/srv/file", 0o644),
        *[
            (0o644, f"{folder}/tool", 0o755)
            for folder in (
                "/bin",
                "/sbin",
                "/usr/bin",
                "/usr/sbin",
                "/usr/local/bin",
                "/usr/local/sbin",
                "/opt/bin",
                "/opt/sbin",
            )
        ],
        (0o644, "/usr/bin/deeper/tool", 0o755),
        (0o644, "/bin", 0o755),  # a directory of the image: the file goes in
        (0o644, "/bin/", 0o755),
        (0o644, "/binary/tool", 0o644),
        (0o644, "/opt/app/bin/tool", 0o644),
        (0o644, "/srv/bin/tool", 0o644),
        (0o644, "/usr/libexec/tool", 0o644),
        *[
            (0o644, f"{folder}/libx.so.1.2.3", 0o755)
            for folder in (
                "/lib",
                "/lib64",
                "/usr/lib",
                "/usr/lib64",
                "/usr/local/lib",
                "/usr/local/lib64",
                "/usr/lib/x86_64-linux-gnu",
            )
        ],
        (0o644, "/usr/lib/libx.so", 0o755),
        (0o644, "/usr/lib/libx.so.6", 0o755),
        (0o644, "/usr/lib/libx.so.conf", 0o644),
        (0o644, "/usr/lib/libx.so.1.", 0o644),
        (0o644, "/usr/lib/libx.so.1a", 0o644),
        (0o644, "/usr/lib/libx.sox", 0o644),
        (0o644, "/usr/lib/.so", 0o644),
        (0o644, "/usr/lib/libx.a", 0o644),
        (0o644, "/srv/lib/libx.so", 0o644),
    ],
)
def test_modes(tmp_path: Path, mode: int, destination: str, expected: int) -> None:
    source = write(tmp_path / "source", mode=mode)
    tree = image()
    before = {id(inode) for _, inode in tree.walk()}
    apply([mapping(source, destination)], tree)
    files = [inode for _, inode in tree.walk() if isinstance(inode, File) and id(inode) not in before]
    assert [oct(file.mode) for file in files] == [oct(expected)]


def test_a_program_folder_counts_as_written_and_as_resolved(tmp_path: Path) -> None:
    source = write(tmp_path / "tool")
    tree = image()
    tree.insert(GuestPath.parse("/opt/bin"), Symlink(b"/srv/tools"))
    tree.insert(GuestPath.parse("/programs"), Symlink(b"/usr/bin"))
    mapped(mapping(source, "/opt/bin/a"), mapping(write(tmp_path / "b"), "/programs/b"), tree=tree)
    assert at(tree, "/srv/tools/a").mode == 0o755  # type: ignore[union-attr]
    assert at(tree, "/usr/bin/b").mode == 0o755  # type: ignore[union-attr]


def test_a_mapped_folder_counts_as_written_too(tmp_path: Path) -> None:
    write(tmp_path / "tools" / "deeper" / "tool")
    tree = image()
    tree.insert(GuestPath.parse("/opt/bin"), Symlink(b"/srv/tools"))
    mapped(mapping(tmp_path / "tools", "/opt/bin"), tree=tree)
    assert at(tree, "/srv/tools/deeper/tool").mode == 0o755  # type: ignore[union-attr]


def test_metadata_is_ours_and_not_the_hosts(tmp_path: Path) -> None:
    source = write(tmp_path / "conf" / "sub" / "file")
    source.chmod(0o6640)
    os.utime(source, (1, 1))
    os.link(source, source.with_name("linked"))
    (tmp_path / "conf").chmod(0o700)
    tree = mapped(mapping(tmp_path / "conf", "/srv/new"))
    for path in ("/srv", "/srv/new", "/srv/new/sub", "/srv/new/sub/file"):
        inode = at(tree, path)
        assert inode is not None
        assert (inode.uid, inode.gid, inode.mtime, dict(inode.xattrs)) == (0, 0, EPOCH, {})
        assert inode.mode == (0o644 if path.endswith("file") else 0o755)
    assert at(tree, "/srv/new/sub/file") is not at(tree, "/srv/new/sub/linked")


def test_a_directory_of_the_image_keeps_its_metadata(tmp_path: Path) -> None:
    write(tmp_path / "conf" / "app.conf")
    tree = mapped(mapping(tmp_path / "conf", "/etc"))
    etc = at(tree, "/etc")
    assert etc is not None
    assert (etc.mode, etc.uid, etc.gid, etc.mtime, dict(etc.xattrs)) == (0o750, 7, 8, 42, {b"user.a": b"b"})
    assert text(tree, "/etc/app.conf") == b"mapped"
    assert text(tree, "/etc/hosts") == b"image"


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("/srv/name", "/srv/name"),
        ("/srv/name/", "/srv/name/source"),
        ("/", "/source"),
        ("/etc", "/etc/source"),
        ("/etc/", "/etc/source"),
        ("/etc/hosts", "/etc/hosts"),
        ("/etc/resolv.conf", "/etc/resolv.conf"),
        ("/usr/bin/ls", "/usr/bin/ls"),
        ("/a..b", "/a..b"),
        ("/...", "/..."),
        ("/x/..y/z..", "/x/..y/z.."),
    ],
)
def test_case_072_where_a_file_goes(tmp_path: Path, destination: str, expected: str) -> None:
    tree = mapped(mapping(write(tmp_path / "source"), destination))
    assert text(tree, expected) == b"mapped"


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("/bin/tool", "/usr/bin/tool"),
        ("/bin", "/usr/bin/source"),
        ("/bin/ls", "/usr/bin/ls"),
        ("/lib/a/b.so", "/usr/lib/a/b.so"),
        ("/escape/passwd", "/etc/passwd"),
        ("/escape", "/etc/source"),
        ("/escape/", "/etc/source"),
        ("/up/x", "/opt/x"),
        ("/up/", "/opt/source"),
    ],
)
def test_case_050_symlinks_of_the_image_are_resolved_inside_it(tmp_path: Path, destination: str, expected: str) -> None:
    host = write(tmp_path / "source")
    tree = mapped(mapping(host, destination))
    assert text(tree, expected) == b"mapped"
    assert text(tree, "/usr/bin/busybox") == b"busybox"
    assert isinstance(at(tree, "/bin"), Symlink)


def test_case_050_a_mapped_folder_goes_through_symlinks_of_the_image(tmp_path: Path) -> None:
    write(tmp_path / "root" / "bin" / "tool")
    write(tmp_path / "root" / "escape" / "passwd")
    write(tmp_path / "root" / "lib" / "x" / "y")
    tree = mapped(mapping(tmp_path / "root", "/"))
    assert isinstance(at(tree, "/bin"), Symlink)
    assert text(tree, "/usr/bin/tool") == b"mapped"
    assert at(tree, "/usr/bin/tool").mode == 0o755  # type: ignore[union-attr]
    assert text(tree, "/etc/passwd") == b"mapped"
    assert text(tree, "/usr/lib/x/y") == b"mapped"


def test_case_050_a_symlink_that_another_mapping_brings_is_resolved_too(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "current").symlink_to("/etc")
    tree = mapped(mapping(tmp_path / "root", "/srv"), mapping(write(tmp_path / "f"), "/srv/current/f"))
    assert text(tree, "/etc/f") == b"mapped"


def test_case_050_nothing_on_the_host_changes(tmp_path: Path) -> None:
    tree = image()
    tree.insert(GuestPath.parse("/out"), Symlink(os.fsencode(tmp_path)))
    mapped(mapping(write(tmp_path / "f"), "/out/new"), tree=tree)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "f"]
    assert text(tree, f"{tmp_path}/new") == b"mapped"


def test_a_symlink_loop_of_the_image_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "f")
    assert fails(mapping(source, "/loop/f")) == (
        f"can't map {source} to /loop/f: /loop/f crosses more than 40 symlinks inside the image"
    )


def test_a_replaced_file_does_not_touch_its_other_names(tmp_path: Path) -> None:
    tree = image()
    etc = at(tree, "/etc")
    assert isinstance(etc, Directory)
    etc.entries[b"hosts.bak"] = etc.entries[b"hosts"]
    mapped(mapping(write(tmp_path / "f"), "/etc/hosts"), tree=tree)
    assert text(tree, "/etc/hosts") == b"mapped"
    assert text(tree, "/etc/hosts.bak") == b"image"


def two(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "one" / "f", b"1"), write(tmp_path / "two" / "f", b"2")


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ("/srv/f", "/srv/f", "/srv/f"),
        ("/srv/f", "/srv/", "/srv/f"),
        ("/etc", "/etc/", "/etc/f"),
        ("/etc", "/etc/f", "/etc/f"),
        ("/bin/f", "/usr/bin/f", "/usr/bin/f"),
        ("/bin", "/usr/bin/f", "/usr/bin/f"),
        ("/srv/f", "/srv/f/below", "/srv/f"),
    ],
)
def test_case_070_two_files_to_one_place(tmp_path: Path, first: str, second: str, place: str) -> None:
    one, other = two(tmp_path)
    for mappings in itertools.permutations([mapping(one, first), mapping(other, second)]):
        message = fails(*mappings)
        assert message.startswith(f"two mappings go to {place}: ")
        assert str(one) in message
        assert str(other) in message


@pytest.mark.parametrize(
    ("folder", "file", "place"),
    [
        ("/srv", "/srv/f", "/srv/f"),
        ("/", "/f", "/f"),
        ("/bin", "/usr/bin/f", "/usr/bin/f"),
        ("/srv/f", "/srv/f", "/srv/f"),
    ],
)
def test_case_070_a_file_and_what_a_folder_holds(tmp_path: Path, folder: str, file: str, place: str) -> None:
    one, other = two(tmp_path)
    for mappings in itertools.permutations([mapping(one.parent, folder), mapping(other, file)]):
        message = fails(*mappings)
        assert message.startswith(f"two mappings go to {place}: ")
        assert str(one.parent) in message
        assert str(other) in message


def test_case_070_two_folders(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    assert "two mappings go to /srv: " in fails(mapping(one.parent, "/srv"), mapping(other.parent, "/srv/"))
    other.rename(other.with_name("g"))
    write(one.parent / "sub" / "x")
    tree = mapped(mapping(one.parent, "/srv"), mapping(other.parent, "/srv/sub"))
    assert text(tree, "/srv/sub/x") == b"mapped"
    assert text(tree, "/srv/sub/g") == b"2"
    write(one.parent / "sub" / "g")
    message = fails(mapping(one.parent, "/srv"), mapping(other.parent, "/srv/sub"))
    assert message == f"two mappings go to /srv/sub/g: {one.parent}/sub/g and {other.parent}/g"


def test_case_070_one_folder_that_goes_to_one_place_by_two_ways(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "bin" / "tool")
    write(root / "usr" / "bin" / "tool")
    assert fails(mapping(root, "/")) == f"two mappings go to /usr/bin/tool: {root}/bin/tool and {root}/usr/bin/tool"


def test_case_070_an_extension_is_named(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    message = fails(mapping(one, "/f"), mapping(other, "/f", "extension sbom"))
    assert message == f"two mappings go to /f: {one} and {other} (from extension sbom)"


def test_case_070_two_files_into_one_directory(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "two")
    tree = mapped(mapping(one, "/etc"), mapping(other, "/etc"))
    assert text(tree, "/etc/one") == text(tree, "/etc/two") == b"mapped"


def test_case_070_the_order_of_the_mappings_means_nothing(tmp_path: Path) -> None:
    write(tmp_path / "root" / "sub" / "a")
    (tmp_path / "root" / "link").symlink_to("sub")
    mappings = [
        mapping(tmp_path / "root", "/srv"),
        mapping(write(tmp_path / "b"), "/srv/link/b"),
        mapping(write(tmp_path / "c"), "/srv/sub/"),
        mapping(write(tmp_path / "d"), "/etc"),
    ]
    trees = [mapped(*order) for order in itertools.permutations(mappings)]
    shapes = {tuple((path, type(inode), inode.mode) for path, inode in tree.walk()) for tree in trees}
    assert len(shapes) == 1
    assert text(trees[0], "/srv/sub/b") == b"mapped"


@pytest.mark.parametrize("target", ["file", "folder", "nothing", "/etc/passwd", "../../../outside"])
def test_case_071_a_symlink_stays_a_symlink(tmp_path: Path, target: str) -> None:
    write(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    write(tmp_path / "top" / "x")
    (tmp_path / "top" / "inner").symlink_to(target)
    tree = mapped(mapping(link, "/srv/"), mapping(tmp_path / "top", "/srv/top"))
    for path in ("/srv/link", "/srv/top/inner"):
        inode = at(tree, path)
        assert isinstance(inode, Symlink)
        assert (inode.target, inode.mtime, inode.uid, inode.gid) == (target.encode(), EPOCH, 0, 0)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["FIFO", "socket", "character device", "block device"])
def test_case_071_what_is_no_file(tmp_path: Path, kind: str, nested: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "special"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        need_root()
        os.mknod(path, 0o600 | (stat.S_IFCHR if kind == "character device" else stat.S_IFBLK), os.makedev(1, 3))
    message = fails(mapping(folder, "/srv") if nested else mapping(path, "/srv/x"))
    assert message == f"can't map {path}: it is a {kind}; a file, folder or symlink is allowed"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where somebody else may pass; pytest's own folders are for the user alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [*folder.rglob("*")]:
        path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["file", "nested file", "folder", "nested folder"])
def test_case_071_unreadable(open_folder: Path, what: str) -> None:
    top = open_folder / "top"
    if "folder" in what:
        path = top / "sub"
        path.mkdir(parents=True)
    else:
        path = write(top / "file")
    path.chmod(0)
    with as_nobody():
        message = fails(mapping(top if "nested" in what else path, "/srv/x"))
    assert message == f"can't map {path}: Permission denied"


def test_case_071_missing(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert fails(mapping(path, "/srv/x")) == f"can't map {path} to /srv/x: No such file or directory"


def test_case_071_a_file_that_changes_after_it_was_mapped_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "f")
    tree = mapped(mapping(path, "/f"))
    path.write_bytes(b"longer than before")
    with pytest.raises(BuildError, match="changed while it was read"):
        text(tree, "/f")
    path.unlink()
    with pytest.raises(BuildError, match=r"can't read .*: No such file or directory"):
        text(tree, "/f")


def test_a_file_can_not_replace_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "root" / "etc")
    assert fails(mapping(tmp_path / "root", "/")) == (
        f"can't map {tmp_path}/root/etc to /etc: it is a directory of the image"
    )


def test_a_folder_can_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "root" / "hosts").mkdir(parents=True)
    for source, destination in ((tmp_path / "root", "/etc"), (tmp_path / "root" / "hosts", "/etc/hosts")):
        message = fails(mapping(source, destination))
        assert (
            message == f"can't map {tmp_path}/root/hosts to /etc/hosts: /etc/hosts is in the way: it is not a directory"
        )


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    source = write(tmp_path / "f")
    assert fails(mapping(source, "/etc/hosts/f")) == (
        f"can't map {source} to /etc/hosts/f: /etc/hosts is in the way of /etc/hosts/f: it is not a directory"
    )


def test_any_byte_in_a_name(tmp_path: Path) -> None:
    names = [b"\xff\xfe", b"new\nline", b"n" * 255, b" ", b"-"]
    folder = tmp_path / "names"
    folder.mkdir()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    tree = mapped(mapping(folder, "/names"))
    inode = at(tree, "/names")
    assert isinstance(inode, Directory)
    assert sorted(inode.entries) == sorted(names)
    for name, entry in inode.entries.items():
        assert isinstance(entry, File)
        assert entry.content.read() == name


def test_folders_are_taken_whole_and_deep(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    deep = folder
    for _ in range(300):
        deep = deep / "d"
    write(deep / "f", b"bottom")
    (folder / "empty").mkdir()
    write(folder / "none", b"")
    write(folder / "large", os.urandom(3_000_001))
    tree = mapped(mapping(folder, "/deep"))
    assert text(tree, "/deep" + "/d" * 300 + "/f") == b"bottom"
    assert isinstance(at(tree, "/deep/empty"), Directory)
    assert text(tree, "/deep/none") == b""
    assert text(tree, "/deep/large") == (folder / "large").read_bytes()


def test_umask_and_host_modes_of_folders_mean_nothing(tmp_path: Path) -> None:
    shapes = set()
    for mask in (0o000, 0o022, 0o077):
        old = os.umask(mask)
        try:
            (tmp_path / f"{mask}" / "sub").mkdir(parents=True)
            (tmp_path / f"{mask}" / "sub" / "f").write_bytes(b"x")
        finally:
            os.umask(old)
        tree = mapped(mapping(tmp_path / f"{mask}", "/srv"))
        shapes.add(tuple((path, inode.mode, inode.mtime) for path, inode in tree.walk()))
    assert len(shapes) == 1
