from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fledge.boot import kvm
from fledge.boot.initramfs import archive, beside_initramfs, for_disk
from fledge.boot.machine import HandedFiles
from fledge.errors import BuildError
from fledge.kernel_modules import Module
from fledge.testing.oracles import need_root, need_tool
from fledge_guest import Workload, init_binary


def test_handed_files_are_there_for_the_child_and_gone_afterwards() -> None:
    with HandedFiles() as files:
        path = files.add("config", b"content")
        done = subprocess.run(["cat", path], pass_fds=files.fds, stdout=subprocess.PIPE, check=True)
        assert done.stdout == b"content"
    assert not path.exists()
    assert files.fds == []


def test_a_joined_file_is_padded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with HandedFiles() as files:
        assert files.join("both", tmp_path / "a", b"678").read_bytes() == b"12345" + bytes(3) + b"678"


@pytest.mark.parametrize("layout", ["empty", "hole", "data", "data and holes"])
def test_a_copy_is_equal_sparse_and_unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = tmp_path / "image"
    with open(source, "wb") as file:
        if "data" in layout:
            file.write(b"x" * 100_000)
        if "hole" in layout:
            file.truncate(64 << 20)
        if layout == "data and holes":
            file.seek(32 << 20)
            file.write(b"y" * 5)
    with HandedFiles() as files:
        copy = files.copy(source)
        assert subprocess.run(["cmp", source, copy], pass_fds=files.fds, check=False).returncode == 0
        assert os.fstat(files.fds[0]).st_blocks * 512 < 1 << 20
        assert list(tmp_path.iterdir()) == [source]
        with open(copy, "r+b") as file:
            file.write(b"changed")
    assert source.read_bytes()[:7] in (b"", b"x" * 7, bytes(7))


def test_a_copy_of_nothing_is_an_error(tmp_path: Path) -> None:
    with HandedFiles() as files, pytest.raises(BuildError, match=r"can't copy .*/none to .*: No such file"):
        files.copy(tmp_path / "none")


def unpack(data: bytes, folder: Path) -> None:
    """By GNU cpio."""
    need_root()
    cpio = need_tool("cpio")
    subprocess.run([cpio, "-i", "--quiet", "-d"], input=data, cwd=folder, check=True)


def test_the_initramfs_of_a_disk(tmp_path: Path) -> None:
    (tmp_path / "a.ko").write_bytes(b"module a")
    (tmp_path / "b.ko").write_bytes(b"module b!")
    modules = [Module("b", tmp_path / "b.ko"), Module("a", tmp_path / "a.ko")]
    workload = Workload(("/app",))
    root = tmp_path / "root"
    root.mkdir()
    unpack(for_disk("amd64", modules, workload), root)
    assert (root / "init").read_bytes() == init_binary("amd64")
    assert (root / "init").stat().st_mode == 0o100755
    assert (root / ".fledge/root-workload").read_bytes() == workload.render()
    listed = (root / ".fledge/modules").read_text().splitlines()
    assert [(root / path[1:]).read_bytes() for path in listed] == [b"module b!", b"module a"]
    console = (root / "dev/console").stat()
    assert (os.major(console.st_rdev), os.minor(console.st_rdev)) == (5, 1)


def test_the_initramfs_of_a_disk_without_anything(tmp_path: Path) -> None:
    unpack(for_disk("arm64", [], None), tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["dev", "dev/console", "init"]


def test_beside_an_initramfs_our_modules_come_first(tmp_path: Path) -> None:
    (tmp_path / "a.ko").write_bytes(b"module")
    unpack(beside_initramfs([Module("a", tmp_path / "a.ko")], b"theirs\n", None), tmp_path)
    assert (tmp_path / ".fledge/modules").read_text() == "/.fledge/boot-modules/a.ko\ntheirs\n"
    assert not (tmp_path / "init").exists()
    assert beside_initramfs([], b"theirs\n", None) == b""


def test_an_architecture_without_an_init_is_an_error() -> None:
    with pytest.raises(BuildError, match="no guest init for architecture 'riscv64'"):
        for_disk("riscv64", [], None)


def test_the_archive_is_the_same_each_time() -> None:
    files = {"/b/c": (0o644, b"1"), "/a": (0o755, b"22")}
    assert archive(files) == archive(dict(reversed(files.items())))


def test_kvm_is_usable_or_not_and_that_is_known_soon() -> None:
    reason = kvm.unusable()
    assert reason is None or "/dev/kvm" in reason


def test_no_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert kvm.unusable() == f"there is no {tmp_path}/kvm"
    (tmp_path / "kvm").write_text("")
    assert kvm.unusable() == f"{tmp_path}/kvm does not start a guest: Inappropriate ioctl for device"


def test_kvm_that_emulates_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = kvm.unusable()
    if reason is not None and "emulates" not in reason:
        pytest.skip(reason)
    monkeypatch.setattr(kvm, "_PATIENCE", 0.0)
    told = kvm.unusable()
    assert told is not None
    assert "emulates the guest" in told
    monkeypatch.setattr(kvm, "_PATIENCE", 60.0)
    assert kvm.unusable() is None
