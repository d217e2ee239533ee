"""Whole builds, read back from the archive."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from fledge.errors import BuildError, UsageError
from fledge.testing.oracles import need_tool
from fledge.testing.tars import archive, member
from fledge.tree.inode import CharDevice, Directory, File, Symlink
from fledge_guest import init_binary

SECOND = 10**9
SH = b"#!/bin/sh\n"


def elf(machine: int = 62, loader: bytes = b"") -> bytes:
    """A program's headers, with a dynamic loader if one is given."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 3 if loader else 1, 4, 120, 0, 0, len(loader) + 1, 0, 1)
    return ident + header + segment + loader + b"\0"


STATIC = elf()
APP = '[mappings]\n"app" = "/usr/bin/app"\n'
RUN = '[workload]\nentrypoint = ["app", "--serve"]\nworkdir = "/srv"\nuser = "nobody"\n[workload.env]\nA = "1"\n'


@pytest.fixture
def app(project):
    project.program("app", STATIC)
    return project


# Process 1


def test_without_an_agent_the_guest_init_runs_the_workload(app):
    built = app.build(APP, RUN)
    assert built.artifact.name == "plugin.cpio.gz"
    assert built.cat("/init") == init_binary("amd64")
    assert built.at("/init").mode == 0o755
    assert built.cat("/.fledge/workload") == (
        b"fledge-workload 1\narg=app\0arg=--serve\0env=A=1\0user=nobody\0workdir=/srv\0"
    )
    assert built.manifest["workload"]["entrypoint"] == ["app", "--serve"]
    assert built.manifest["initramfs"]["format"] == "cpio"
    assert (
        built.manifest["initramfs"]["checksum"] == "sha256:" + hashlib.sha256(built.artifact.read_bytes()).hexdigest()
    )


def test_with_an_agent_the_guest_init_becomes_it(app):
    app.program("kestrel", elf())
    built = app.build(f'[agent]\nsource_strategy = "local"\npath = "kestrel"\n{APP}', RUN)
    assert built.cat("/bin/kestrel") == elf()
    assert built.at("/bin/kestrel").mode == 0o755
    assert b"handover=/bin/kestrel\0" in built.cat("/.fledge/workload")


def test_an_absolute_path_is_what_the_guest_init_becomes(app):
    built = app.build('[init]\npath = "/usr/bin/app"\n' + APP)
    assert built.cat("/init") == init_binary("amd64")
    assert built.cat("/.fledge/workload") == b"fledge-workload 1\nhandover=/usr/bin/app\0"
    assert built.at("/bin/kestrel") is None


def test_a_relative_path_is_process_1_itself(app):
    app.program("sub/my-init", STATIC + b"mine", 0o644)
    built = app.build('[init]\npath = "sub/my-init"\n')
    assert built.cat("/init") == STATIC + b"mine"
    assert built.at("/init").mode == 0o755
    assert built.at("/.fledge") is None


def test_none_leaves_init_to_the_mappings(app):
    built = app.build('[init]\nnone = true\n[mappings]\n"app" = "/init"\n')
    assert built.cat("/init") == STATIC
    assert built.at("/.fledge") is None


def test_the_init_is_that_of_the_architecture(app):
    app.program("app", elf(183))
    assert app.build(APP, RUN, platform="linux/arm64").cat("/init") == init_binary("arm64")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[init]\nnone = true\n", "[init] none = true, but nothing is mapped to /init"),
        ('[init]\nnone = true\n[mappings]\n"text" = "/init"\n', "process 1 /init is not executable (mode 0644)"),
        ('[init]\nnone = true\n[mappings]\n"text" = "/init/x"\n', "process 1 /init is a directory"),
        ('[init]\nnone = true\n[mappings]\n"dynamic" = "/init"\n', "process 1 /init needs /lib/ld.so, which is not in"),
        ('[init]\nnone = true\n[mappings]\n"script" = "/init"\n', "process 1 /init needs /bin/sh, which is not in"),
        ('[init]\nnone = true\n[mappings]\n"arm" = "/init"\n', "process 1 /init is built for arm64"),
        ('[init]\npath = "missing"\n', "can't read [init] path"),
        ('[init]\npath = "text"\n', "process 1 /init is no program"),
        ('[init]\npath = "dynamic"\n', "process 1 /init needs /lib/ld.so"),
        ('[init]\npath = "/sbin/mine"\n', "[init] path /sbin/mine is not in the image"),
        ('[init]\npath = "/sbin/mine"\n[mappings]\n"text" = "/etc/x"\n', "[init] path /sbin/mine is not in the image"),
        ('[mappings]\n"app" = "/usr/bin/other"\n', "the workload's entrypoint 'app' is in no folder of PATH"),
        ('[mappings]\n"text" = "/usr/share/app"\n', "the workload's entrypoint 'app' is in no folder of PATH"),
        ('[mappings]\n"dynamic" = "/usr/bin/app"\n', "the workload's entrypoint /usr/bin/app needs /lib/ld.so"),
        ('[mappings]\n"arm" = "/usr/bin/app"\n', "the workload's entrypoint /usr/bin/app is built for arm64"),
        ('[agent]\nsource_strategy = "local"\npath = "arm"\n', "is built for arm64, and the image for amd64"),
        ('[agent]\nsource_strategy = "local"\npath = "dynamic"\n', "the agent /bin/kestrel needs /lib/ld.so, which"),
        ('[source]\nimage = "oci:none"\n', "none"),
    ],
)
def test_what_can_not_boot_is_told_at_build_time(app, text, message):
    app.program("text", b"text\n", 0o644)
    app.program("script", SH)
    app.program("dynamic", elf(loader=b"/lib/ld.so"))
    app.program("arm", elf(183))
    with pytest.raises(BuildError) as caught:
        app.build(text, RUN)
    assert message in caught.value.message
    assert not list(Path().glob("plugin*"))


def test_nothing_to_run_is_a_warning(project):
    built = project.build("")
    assert built.at("/.fledge") is None
    assert any("nothing will run" in text for text in built.log.texts("warning"))


# The skeleton


def test_the_skeleton(app):
    built = app.build(APP, RUN)
    for path, mode in {"/bin": 0o755, "/proc": 0o755, "/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777}.items():
        folder = built.at(path)
        assert isinstance(folder, Directory)
        assert (folder.mode, folder.uid, folder.gid, folder.mtime) == (mode, 0, 0, 1_700_000_000 * SECOND)
    console = built.at("/dev/console")
    assert isinstance(console, CharDevice)
    assert (console.major, console.minor, console.mode) == (5, 1, 0o600)
    assert built.cat("/etc/passwd").startswith(b"root:x:0:0:")


OVERLAY = archive(
    member(b"bin", flag=b"2", link=b"usr/bin", mode=0o777),
    member(b"usr/bin/", flag=b"5", mode=0o755),
    member(b"usr/bin/app", STATIC, mode=0o755),
    member(b"usr/bin/awk", SH, mode=0o700),
    member(b"usr/local/bin/ls", SH, mode=0o755),
    member(b"etc/passwd", b"root:x:0:0::/:/bin/bash\n", mode=0o600),
    member(b"tmp/", flag=b"5", mode=0o700),
    member(b"dev/null", b"a file"),
)


def test_the_image_lies_over_the_skeleton(project):
    project.image(OVERLAY, config={"Entrypoint": ["app"], "Env": ["PATH=/bin", "B=2"], "StopSignal": "SIGQUIT"})
    built = project.build('[source]\nimage = "oci:image:latest"\n')
    assert isinstance(built.at("/bin"), Symlink)
    assert built.cat("/etc/passwd") == b"root:x:0:0::/:/bin/bash\n"
    assert built.at("/tmp").mode == 0o700
    assert built.cat("/dev/null") == b"a file"
    assert isinstance(built.at("/dev/console"), CharDevice)
    assert built.cat("/.fledge/workload") == (b"fledge-workload 1\narg=app\0env=B=2\0env=PATH=/bin\0stop_signal=3\0")


# busybox


def with_busybox(path: str | Path, sha256: str = "") -> str:
    return f'[source]\nbusybox_url = "{path}"\n' + (f'busybox_sha256 = "{sha256}"\n' if sha256 else "")


@pytest.fixture
def busybox() -> Path:
    return Path(need_tool("busybox", "busybox-static"))


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "copy"])
def test_busybox_with_its_links(app, busybox, form):
    app.program("copy", busybox.read_bytes())
    built = app.build(with_busybox(form.format(path=busybox)) + APP, RUN)
    assert built.cat("/bin/busybox") == busybox.read_bytes()
    for path in ("/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/sbin/chroot", "/usr/bin/["):
        link = built.at(path)
        assert isinstance(link, Symlink)
        assert link.target == b"/bin/busybox"
    digest = hashlib.sha256(busybox.read_bytes()).hexdigest()
    assert [text for text in built.log.texts("warning") if "busybox" in text] == [
        f"busybox from {form.format(path=busybox).removeprefix('file://').replace('copy', str(app.folder / 'copy'))} is "
        f'used unverified; pin it with busybox_sha256 = "{digest}"'
    ]


def test_applets_do_not_stand_in_for_what_the_image_has(project, busybox):
    project.image(OVERLAY, config={"Entrypoint": ["app"]})
    built = project.build('[source]\nimage = "oci:image:latest"\n' + with_busybox(busybox).removeprefix("[source]\n"))
    assert built.cat("/usr/bin/awk") == SH
    assert built.cat("/usr/local/bin/ls") == SH
    assert built.at("/usr/bin/ls") is None
    assert isinstance(built.at("/usr/bin/cat"), Symlink), "/bin is a symlink of the image"
    assert isinstance(built.at("/usr/bin/busybox"), File)


def test_the_image_keeps_its_busybox(project, busybox):
    project.image(archive(member(b"bin/busybox", STATIC, mode=0o755), member(b"bin/sh", flag=b"2", link=b"busybox")))
    built = project.build('[source]\nimage = "oci:image:latest"\n' + with_busybox(busybox).removeprefix("[source]\n"))
    assert built.cat("/bin/busybox") == STATIC
    assert built.at("/bin/sh").target == b"busybox"
    assert built.at("/bin/cat").target == b"/.fledge/busybox"
    assert built.cat("/.fledge/busybox") == busybox.read_bytes()


def test_busybox_is_verified(app, busybox):
    digest = hashlib.sha256(busybox.read_bytes()).hexdigest()
    for pinned in (digest, f"sha256:{digest}"):
        built = app.build(with_busybox(busybox, pinned), RUN.replace("app", "sh"))
        assert built.log.texts("warning") == []
    with pytest.raises(BuildError, match=rf"busybox from .* has the digest sha256:{digest}; sha256:0+ was expected"):
        app.build(with_busybox(busybox, "0" * 64))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (STATIC, "is no busybox: it has no table of applets"),
        (b"<html>not found</html>", "is no program"),
        (elf(183), "is built for arm64, and the image for amd64"),
    ],
)
def test_what_is_no_busybox(app, data, message):
    app.program("bb", data)
    with pytest.raises(BuildError) as caught:
        app.build(with_busybox("bb"))
    assert message in caught.value.message


def test_the_default_busybox_is_for_one_architecture(app):
    with pytest.raises(UsageError, match="the default busybox is built for amd64, and the image for arm64"):
        app.build("[initramfs]\nbusybox = true\n", platform="linux/arm64")


# Kernel modules, memory, formats


def modules_folder(folder: Path) -> Path:
    import lzma

    import zstandard

    top = folder / "modules" / "6.1.0-test"
    for name, data in {
        "kernel/drivers/block/virtio_blk.ko.xz": lzma.compress(elf() + b"blk"),
        "kernel/drivers/virtio/virtio_ring.ko.zst": zstandard.compress(elf() + b"ring"),
        "kernel/drivers/virtio/virtio.ko": elf() + b"virtio",
        "kernel/other.ko": elf(),
        "kernel/arm.ko": elf(183),
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (top / "modules.dep").write_text(
        "kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.zst kernel/drivers/virtio/virtio.ko\n"
        "kernel/drivers/virtio/virtio_ring.ko.zst: kernel/drivers/virtio/virtio.ko\n"
        "kernel/drivers/virtio/virtio.ko:\nkernel/other.ko:\nkernel/arm.ko:\n"
    )
    (top / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return top


def test_modules_are_put_in_with_what_they_need(app):
    modules_folder(app.folder)
    table = '[initramfs]\nbusybox = false\nmodules = ["virtio-blk", "ext4"]\nkernel_modules = "modules/6.1.0-test"\n'
    built = app.build(APP + table, RUN)
    listed = built.cat("/.fledge/modules").decode().splitlines()
    top = "/lib/modules/6.1.0-test/kernel/drivers"
    assert listed == [f"{top}/virtio/virtio.ko", f"{top}/virtio/virtio_ring.ko", f"{top}/block/virtio_blk.ko"]
    assert [built.cat(path)[len(elf()) :] for path in listed] == [b"virtio", b"ring", b"blk"]
    assert built.at("/lib/modules/6.1.0-test/kernel/other.ko") is None


@pytest.mark.parametrize(
    ("modules", "folder", "message"),
    [
        ('["nothing"]', "modules/6.1.0-test", "unknown kernel module 'nothing'"),
        ('["arm"]', "modules/6.1.0-test", "arm.ko is built for arm64"),
        ('["virtio"]', "nowhere", "there is no folder of kernel modules"),
    ],
)
def test_modules_that_can_not_be_had(app, modules, folder, message):
    modules_folder(app.folder)
    with pytest.raises(BuildError) as caught:
        app.build(f'{APP}[initramfs]\nbusybox = false\nmodules = {modules}\nkernel_modules = "{folder}"\n', RUN)
    assert message in caught.value.message


@pytest.mark.parametrize(("memory_mb", "warns"), [(None, False), (20, True), (24, False)])
def test_an_initramfs_that_does_not_fit_is_told(app, memory_mb, warns):
    app.program("data", bytes(11 << 20))
    memory = f"[resources]\nmemory_mb = {memory_mb}\n" if memory_mb else ""
    built = app.build(f'{APP}"data" = "/srv/data"\n', RUN + memory)
    told = [text for text in built.log.texts("warning") if "unpacked initramfs" in text]
    assert bool(told) is warns
    if warns:
        assert told[0].startswith("the unpacked initramfs takes about 12 MiB")
        assert "10 of 20 MiB" in told[0]
        assert told[0].endswith("to 24 or more")


@pytest.mark.parametrize(("compression", "suffix"), [("zstd", ".cpio.zst"), ("none", ".cpio")])
def test_the_name_tells_the_compression(app, compression, suffix):
    built = app.build(f'[filesystem]\ncompression = "{compression}"\n{APP}', RUN)
    assert built.artifact.name == f"plugin{suffix}"
    assert (app.folder / "app.manifest.json").exists()


def test_the_same_inputs_give_the_same_bytes(app, busybox):
    digests = {app.build(with_busybox(busybox) + APP, RUN).artifact.read_bytes() for _ in range(2)}
    assert len(digests) == 1
