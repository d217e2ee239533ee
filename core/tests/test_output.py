"""Output is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from fledge.atomic import SUFFIX, PartFile, remove_dead
from fledge.errors import BuildError, UsageError
from fledge.output import ArtifactFile, Outputs
from fledge.testing.venvs import as_nobody
from fledge.tree.content import MemorySource


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(SUFFIX)]


def publish(folder: Path, data: bytes) -> None:
    with Outputs() as outputs:
        target = outputs.artifact(folder / "a.img")
        target.write(0, data)
        target.finish(len(data))
        outputs.manifest(folder / "a.json", str(target.digest).encode())
        outputs.commit()


def test_commit_shows_both_and_leaves_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path, b"hello")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.img", "a.json"]
    assert (tmp_path / "a.json").read_text() == "sha256:" + hashlib.sha256(b"hello").hexdigest()


def test_without_commit_the_old_output_stands(tmp_path: Path) -> None:
    publish(tmp_path, b"old")
    with pytest.raises(ZeroDivisionError), Outputs() as outputs:
        outputs.artifact(tmp_path / "a.img").write(0, b"half")
        raise ZeroDivisionError
    assert (tmp_path / "a.img").read_bytes() == b"old"
    assert parts(tmp_path) == []


def test_a_failure_between_artifact_and_manifest_shows_nothing(tmp_path: Path) -> None:
    publish(tmp_path, b"old")
    with pytest.raises(BuildError, match="No such file"), Outputs() as outputs:
        outputs.artifact(tmp_path / "a.img").finish(3)
        outputs.manifest(tmp_path / "absent" / "a.json", b"{}")
    assert (tmp_path / "a.img").read_bytes() == b"old"
    assert parts(tmp_path) == []


@pytest.mark.parametrize("stage", ["pack", "manifest"])
def test_case_088_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path, stage: str) -> None:
    publish(tmp_path, b"old")
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from fledge.output import Outputs
        folder = Path({str(tmp_path)!r})
        with Outputs() as outputs:
            target = outputs.artifact(folder / "a.img")
            target.write(0, b"half")
            if {stage!r} == "manifest":
                target.finish(4)
                outputs.manifest(folder / "a.json", b"new")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
    assert parts(tmp_path) != []
    assert (tmp_path / "a.img").read_bytes() == b"old"
    Outputs.prepare(tmp_path / "a.img")
    assert parts(tmp_path) == []
    assert (tmp_path / "a.img").read_bytes() == b"old"


def test_a_folder_goes_with_its_file(tmp_path: Path) -> None:
    with PartFile(tmp_path, "x") as part:
        folder = part.folder()
        (folder / "in").mkdir()
        remove_dead(tmp_path)
        assert (folder / "in").exists()
        part.path.unlink()  # As after a crash: the file was dead, and the folder could not be removed with it.
        remove_dead(tmp_path)
        assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_remove_dead_spares_what_somebody_writes(tmp_path: Path) -> None:
    with PartFile(tmp_path, "x") as part:
        remove_dead(tmp_path)
        assert part.path.exists()
    assert parts(tmp_path) == []


def test_case_091_builds_of_one_output_never_show_a_mixed_pair(tmp_path: Path) -> None:
    stop = threading.Event()
    wrong: list[tuple[bytes, bytes]] = []

    def watch() -> None:
        while not stop.is_set():
            try:
                before = (tmp_path / "a.json").read_bytes()
                artifact = (tmp_path / "a.img").read_bytes()
                after = (tmp_path / "a.json").read_bytes()
            except FileNotFoundError:
                continue
            if before == after and before != b"sha256:" + hashlib.sha256(artifact).hexdigest().encode():
                wrong.append((before, artifact))

    def build(name: bytes) -> None:
        for i in range(60):
            publish(tmp_path, name * (i + 1))

    watcher = threading.Thread(target=watch)
    builders = [threading.Thread(target=build, args=(name,)) for name in (b"a", b"b", b"c")]
    watcher.start()
    for thread in builders:
        thread.start()
    for thread in builders:
        thread.join()
    stop.set()
    watcher.join()
    assert wrong == []
    assert parts(tmp_path) == []


def test_output_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Outputs.prepare(tmp_path / "absent" / "a.img")


def test_output_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        Outputs.prepare(tmp_path)


def test_an_output_folder_that_can_not_be_written_is_told_before_anything_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with as_nobody(), pytest.raises(BuildError, match=r"^can't write a\.img: no permission for its folder"):
        Outputs.prepare(Path("a.img"))
    Outputs.prepare(Path("a.img"))
    assert parts(tmp_path) == []


def test_case_095_digest_is_of_the_final_bytes_holes_included(tmp_path: Path) -> None:
    target = ArtifactFile(tmp_path / "a")
    try:
        target.write(0, b"x" * 5000)
        target.settled(4096)
        target.write(40 << 20, b"y")
        target.settled(41 << 20)
        target.finish(100 << 20)
        digest = target.digest
        with open(target.fileno(), "rb", closefd=False) as file:
            file.seek(0)
            assert digest.hex == hashlib.file_digest(file, "sha256").hexdigest()
        assert os.fstat(target.fileno()).st_blocks * 512 < 1 << 20
    finally:
        target.discard()


def test_case_095_copies_settle_behind_themselves(tmp_path: Path) -> None:
    """Short runs, one that is longer than what settles at once, and a gap."""
    data = os.urandom(4096) * 9000
    source = MemorySource(data)
    runs = [(0, source, 7, 100), (100, source, 0, len(data)), (64 << 20, source, 50, 9)]
    settled: list[int] = []
    seen: list[int] = []
    target = ArtifactFile(tmp_path / "a")
    try:
        target.copy_settling(runs, settled.append, lambda batch: seen.append(sum(run[3] for run in batch)))
        target.finish(65 << 20)
        expected = (data[7:107] + data).ljust(64 << 20, b"\0") + data[50:59].ljust(1 << 20, b"\0")
        assert target.digest.hex == hashlib.sha256(expected).hexdigest()
        assert sum(settled) == 109 + len(data)
        assert settled == seen
        assert max(seen) <= 16 << 20
    finally:
        target.discard()


def test_what_is_settled_and_was_never_written_is_zeros(tmp_path: Path) -> None:
    with Outputs() as outputs:
        target = outputs.artifact(tmp_path / "a.img")
        target.write(0, b"front")
        target.settled(1 << 20)
        time.sleep(0.1)  # The checksum's thread gets there before the file is as long.
        target.finish(2 << 20)
        assert target.digest.hex == hashlib.sha256(b"front".ljust(2 << 20, b"\0")).hexdigest()


def test_case_095_bytes_that_change_after_they_were_settled_count(tmp_path: Path) -> None:
    target = ArtifactFile(tmp_path / "a")
    try:
        target.write(0, b"x" * 10_000)
        target.finish(10_000)
        before = target.digest
        target.write(5, b"y")
        target.finish(10_001)
        assert target.digest.hex == hashlib.sha256(b"xxxxxy" + b"x" * 9_994 + b"\0").hexdigest()
        assert target.digest != before
    finally:
        target.discard()


def test_copy_gathers_runs_and_fills_small_gaps(tmp_path: Path) -> None:
    target = ArtifactFile(tmp_path / "a")
    expected = bytearray(30 << 20)
    runs = []
    at = 0
    for i in range(3000):
        data = bytes([i % 251 + 1]) * (i * 7 % 9000 + 1)
        runs.append((at, MemorySource(b"??" + data + b"?"), 2, len(data)))
        expected[at : at + len(data)] = data
        at += len(data) + (0, 5, 4095, 4096, 9000)[i % 5]
    large = bytes(range(256)) * (40 << 10)
    runs.append((at, MemorySource(large), 0, len(large)))
    expected[at : at + len(large)] = large
    try:
        target.copy(iter(runs))
        target.finish(len(expected))
        assert os.pread(target.fileno(), len(expected) + 1, 0) == bytes(expected)
    finally:
        target.discard()


def test_case_089_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ArtifactFile(tmp_path / "a")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    try:
        with pytest.raises(BuildError, match=r"can't write .*/a: No space left on device"):
            monkeypatch.setattr(os, "pwritev", full)
            target.write(0, b"x")
    finally:
        target.discard()
    assert parts(tmp_path) == []


def test_what_the_disk_could_not_hold_is_told_although_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    target = ArtifactFile(tmp_path / "a")
    try:
        target.write(0, b"x")
        monkeypatch.setattr(os, "fsync", broken)
        target.finish(1)
        with pytest.raises(BuildError, match=r"can't write .*/a: Input/output error"):
            target.finish(2)
    finally:
        target.discard()


def test_after_commit_nothing_of_the_file_touches_a_descriptor_that_is_another_files_now(tmp_path: Path) -> None:
    size = 256 << 20
    other = tmp_path / "other"
    other.write_bytes(bytes(size))
    file = ArtifactFile(tmp_path / "artifact")
    for at in range(0, size, 1 << 20):
        file.write(at, b"data between holes")
    descriptor = file.fileno()
    file.finish(size)
    file.commit()
    with other.open("rb") as reader:
        assert reader.fileno() == descriptor
        for _ in range(50):
            time.sleep(0.001)
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0


def test_an_output_folder_that_the_user_may_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed" / "out").mkdir(parents=True)
    (tmp_path / "closed").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with as_nobody(), pytest.raises(UsageError, match="folder closed/out does not exist"):
        Outputs.prepare(Path("closed/out/a.img"))
    with pytest.raises(UsageError, match="aaa does not exist"):
        Outputs.prepare(tmp_path / ("a" * 300) / "a.img")
