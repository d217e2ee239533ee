"""The parts of a step's run that need no machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fledge.errors import BuildError, UsageError
from fledge.output import ImageFile
from fledge.progress import Progress
from fledge.testing.builds import Log, context
from fledge.testing.oracles import mounted, run
from fledge.tree.content import Content
from fledge.tree.inode import CharDevice, Directory, Fifo, File, Inode, Socket, Symlink
from fledge.tree.tree import Tree
from fledge.values import Platform
from fledge_builder_microvm.run_machine import Resources
from fledge_builder_microvm.run_output import Lines
from fledge_builder_microvm.run_surroundings import Surroundings, surround
from fledge_builder_microvm.run_upper import changes_of, read_scratch
from fledge_builder_microvm.runner import MicrovmRunner
from fledge_builder_microvm.steps import BindMount, CacheMount, Mount, RunStep, SecretMount, TmpfsMount
from fledge_fs_ext4.image import write_image

OPAQUE = {b"trusted.overlay.opaque": b"y", b"user.kept": b"1"}


def folder(entries: dict[str, Inode] | None = None, **xattrs: bytes) -> Directory:
    made = Directory(0o755, xattrs={name.encode(): value for name, value in xattrs.items()})
    made.entries = {name.encode(): inode for name, inode in (entries or {}).items()}
    return made


def file(data: bytes = b"") -> File:
    return File(Content.of(data), 0o644)


def whiteout() -> CharDevice:
    return CharDevice(0, 0, 0o000)


# The upper folder


def test_the_changes_of_an_upper_folder() -> None:
    lower = folder(
        {
            "both": folder({"old": file(), "kept": file()}),
            "emptied": folder({"x": file()}),
            "was-empty": folder(),
            "gone": file(),
            "file": file(),
            "null": CharDevice(1, 3, 0o666),
            "served": file(),
        }
    )
    linked = file(b"l")
    linked.xattrs = {b"trusted.overlay.origin": b"\0", b"trusted.mine": b"2"}
    emptied, was_empty, new, became = folder(), folder(), folder({"in": linked, "never": whiteout()}), folder()
    for one in (emptied, was_empty, new, became):
        one.xattrs = OPAQUE
    upper = folder(
        {
            "both": folder({"old": whiteout(), "new": linked}),
            "emptied": emptied,
            "was-empty": was_empty,
            "new": new,
            "file": became,
            "gone": whiteout(),
            "never": whiteout(),
            "null": CharDevice(1, 3, 0o600),
            "sock": Socket(0o755),
            "served": Socket(0o755),
            "pipe": Fifo(0o644),
        }
    )
    log = Log()
    changes = list(changes_of(upper, lower, Progress(log)))
    told = [(type(change).__name__, change.path.decode()) for change in changes]
    assert told == [
        ("Put", "both"),
        ("Put", "emptied"),
        ("Opaque", "emptied"),
        ("Put", "file"),
        ("Remove", "gone"),
        ("Put", "new"),
        ("Put", "null"),
        ("Put", "pipe"),
        ("Remove", "served"),
        ("Put", "was-empty"),
        ("Put", "both/new"),
        ("Remove", "both/old"),
        ("Put", "new/in"),
    ]
    assert emptied.xattrs == {b"user.kept": b"1"}
    assert linked.xattrs == {b"trusted.mine": b"2"}
    assert log.texts("info") == [f"/{name} is a socket, which no layer holds" for name in ("served", "sock")]


@pytest.mark.parametrize(
    ("changed", "told"),
    [({}, 0), ({"mtime": 5}, 0), ({"mode": 0o700}, 1), ({"uid": 1}, 1), ({"xattrs": {b"user.a": b""}}, 1)],
)
def test_the_root_is_changed_by_all_but_its_time(changed: dict[str, Any], told: int) -> None:
    upper = folder()
    for name, value in changed.items():
        setattr(upper, name, value)
    assert [change.path for change in changes_of(upper, folder(), Progress())] == [b""] * told


def test_a_disk_that_was_not_unmounted_is_an_error(tmp_path: Path) -> None:
    image = tmp_path / "scratch"
    with open(image, "wb") as out:
        write_image(ImageFile(image, out.fileno()), Tree(folder()), lambda _: 1 << 20, Progress(), journal=False)
    with mounted(image, "ext4", writable=True) as place:
        (place / "half").write_bytes(b"x" * 10_000)
        run("sync", "-f", place)
        copy = tmp_path / "copy"
        copy.write_bytes(image.read_bytes())
    with pytest.raises(BuildError, match="before its disk was unmounted: nothing of what the step did is kept"):
        read_scratch(copy)
    assert b"half" in read_scratch(image).root.entries


# What a step sees


def around(tree: Tree, *mounts: Mount) -> Surroundings:
    step = RunStep(("x",), {}, "/", "", mounts)
    return surround(step, tree, ["10.0.2.3"], "10.0.2.15")


def test_mount_points_are_made_in_a_copy() -> None:
    tree = Tree(folder({"etc": folder({"resolv.conf": Symlink(b"../run/resolve/conf")}), "srv": Symlink(b"data")}))
    context_folder = folder({"src": folder()})
    context_folder.mtime = 7
    made = around(
        tree,
        CacheMount("/dev/cache", "c"),
        SecretMount("/run/secrets/a", b"s", 0o400, 7, 8),
        BindMount("/srv/in", context_folder),
        TmpfsMount("/srv/in/src/tmp", 4096),
        BindMount("/srv/in/one", file(b"1")),
        BindMount("/work", folder(), readonly=False),
    )
    assert [mount.target for mount in made.mounts] == [
        "/etc/hostname",
        "/etc/hosts",
        "/run/resolve/conf",
        "/dev/cache",
        "/run/secrets/a",
        "/data/in",
        "/data/in/src/tmp",
        "/data/in/one",
        "/work",
    ]
    assert sorted(path.decode() for path, _ in tree.walk()) == ["", "etc", "etc/resolv.conf", "srv"]
    assert {path.decode() for path, _ in made.root.walk()} == {
        *("", "data", "data/in", "dev", "etc", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "run"),
        *("run/resolve", "run/resolve/conf", "run/secrets", "run/secrets/a", "srv", "sys", "work"),
    }
    assert [(mount.source, mount.within, mount.read_only) for mount in made.mounts[-4:]] == [
        ("/dev/vdd", None, True),
        (None, None, False),
        ("/dev/vde", "file", True),
        ("/dev/vdf", None, False),
    ]
    assert made.disks[1].tree.root.mtime == tree.epoch, "the time of the context's folder is in no key"
    # In what is mounted, mount points are made in a copy, too.
    assert sorted(path.decode() for path, _ in made.disks[1].tree.walk()) == ["", "one", "src", "src/tmp"]
    assert [path.decode() for path, _ in Tree(context_folder).walk()] == ["", "src"]
    assert [image.writable for image in made.disks] == [True, False, False, True]
    secret = made.mounts[4].source
    assert secret is not None
    assert (made.files[secret], made.owners[secret]) == ((0o400, b"s"), (7, 8))
    assert [data for _, data in made.files.values()] == [
        b"fledge-build\n",
        b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.2.15\tfledge-build\n",
        b"nameserver 10.0.2.3\n",
        b"s",
    ]


@pytest.mark.parametrize(
    ("fields", "owner"),
    [({}, (0o700, 5, 6)), ({"mode": 0o755}, (0o755, 5, 6)), ({"uid": 0}, (0o700, 0, 6)), ({"gid": 7}, (0o700, 5, 7))],
)
def test_a_cache_belongs_to_whom_its_seed_does(fields: dict[str, int], owner: tuple[int, int, int]) -> None:
    made = around(
        Tree(folder()), CacheMount("/c", "c", Directory(0o700, 5, 6), **fields), CacheMount("/d", "d", **fields)
    )
    seeded, new = (image.tree.root for image in made.disks)
    assert (seeded.mode, seeded.uid, seeded.gid) == owner
    assert (new.mode, new.uid, new.gid) == (fields.get("mode", 0o755), fields.get("uid", 0), fields.get("gid", 0))


@pytest.mark.parametrize(
    ("tree", "mount", "message"),
    [
        (folder({"a": file()}), TmpfsMount("/a"), "a folder is to be mounted at /a, and the image has something else"),
        (folder({"a": folder()}), SecretMount("/a", b""), "a file is to be mounted at /a, and the image has something"),
        (folder({"a": file()}), TmpfsMount("/a/b"), "/a is in the way of /a/b: it is not a directory"),
        (folder({"a": Symlink(b"a")}), TmpfsMount("/a"), "/a crosses more than 40 symlinks inside the image"),
        (folder(), TmpfsMount("/"), "nothing can be mounted on /"),
        (folder({"proc": file()}), TmpfsMount("/x"), "a folder is to be mounted at /proc, and the image has something"),
    ],
)
def test_what_is_in_the_way_of_a_mount(tree: Directory, mount: Mount, message: str) -> None:
    with pytest.raises(BuildError) as caught:
        around(Tree(tree), mount)
    assert caught.value.message.startswith(message)


def test_there_are_only_so_many_disks() -> None:
    mounts = [BindMount(f"/{number}", folder()) for number in range(21)]
    assert around(Tree(folder()), *mounts[:20]).mounts[-1].source == "/dev/vdv"
    with pytest.raises(BuildError, match="more than 20 mounts of files, folders and caches are not possible"):
        around(Tree(folder()), *mounts)


# What a step prints


def test_lines_are_told_as_they_end() -> None:
    told: list[str] = []
    lines = Lines(told.append)
    lines.add(b"one\ntw")
    assert told == ["one"]
    lines.add(b"o\r\n\n 10%\r 20%\r100%\n\x1b[31mred\x1b[0m \xff\x00\n")
    assert told == ["one", "two", "100%", "red \\xff"]
    lines.add(b"x" * 9000)
    assert list(lines.end()) == [*told[:4], "x" * 1000]


# What it runs on


def test_what_is_missing_is_an_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def obstacle(platform: str = "linux/amd64", **environ: str) -> str:
        found = MicrovmRunner(context(tmp_path, environ=environ), Platform.parse(platform)).obstacle()
        assert found is not None
        return found

    assert obstacle("linux/s390x").startswith("RUN for linux/s390x does not run on this ")
    assert obstacle(FLEDGE_KERNEL_BZIMAGE="/none") == "RUN needs a machine: there is no kernel /none"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert obstacle() == (
        "RUN needs a machine: qemu-system-x86_64 is not installed (install qemu-system-x86, or qemu-system-arm for arm64)"
    )


@pytest.mark.parametrize("value", ["", "0", "127", "1G", "-5", "1e3"])
def test_the_size_of_a_machine(value: str) -> None:
    environ = {"FLEDGE_BUILD_MEMORY_MB": value}
    if not value:
        assert (Resources.of(environ).memory_mb, Resources.of(environ).disk_mb) == (2048, 16384)
        return
    with pytest.raises(
        UsageError, match=f"FLEDGE_BUILD_MEMORY_MB is '{value}'; it takes a number of MiB, at least 128"
    ):
        Resources.of(environ)
