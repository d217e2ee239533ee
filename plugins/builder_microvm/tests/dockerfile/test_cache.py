"""Which steps are done again, and that the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fledge.atomic import SUFFIX
from fledge.store import Store
from fledge.testing.dockerfiles import Project
from fledge.testing.images import Blobs, tar
from fledge.testing.trees import described
from fledge.tree.content import Content, HostFileSource
from fledge.tree.inode import File
from fledge.tree.tree import Tree
from fledge_builder_microvm.changes import Put
from fledge_builder_microvm.context_file import ContextFile

TEXT = "FROM scratch\nARG v=1\nENV e=$v\nCOPY a /x/\nARG w\nRUN step\nWORKDIR /y\n"
MOMENT = 1_600_000_000


@pytest.fixture
def counted(project: Project, runner: Any) -> Callable[..., list[str]]:
    """Builds, and gives the keywords of the steps that were not cached."""
    runner.make = lambda step, root: [Put(b"made", File(Content.of(b"m"), 0o644))]
    path = project.write("a", "1")
    os.utime(path, (MOMENT, MOMENT))

    def build(text: str = TEXT, **more: Any) -> list[str]:
        told = project.build(text, **more).log.texts("info")
        done = [line.split()[2] for line in told if not line.endswith("(cached)")]
        return [keyword for keyword in done if keyword in ("COPY", "ADD", "RUN", "WORKDIR")]

    assert build() == ["COPY", "RUN", "WORKDIR"]
    assert build() == []
    return build


def test_no_cache(counted: Callable[..., list[str]]) -> None:
    assert counted(no_cache=True) == ["COPY", "RUN", "WORKDIR"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda path: path.write_text("2"), ["COPY", "RUN", "WORKDIR"]),
        (lambda path: path.write_text("2") and os.utime(path, (MOMENT, MOMENT)), ["COPY", "RUN", "WORKDIR"]),
        (lambda path: path.chmod(0o600), ["COPY", "RUN", "WORKDIR"]),
        (lambda path: os.utime(path, (MOMENT, MOMENT + 1)), ["COPY", "RUN", "WORKDIR"]),
        (lambda path: path.with_name("b").write_text("not copied"), []),
        (lambda path: shutil.copy2(path, f"{path}~") and os.replace(f"{path}~", path), []),
    ],
)
def test_what_is_copied(
    project: Project, counted: Callable[..., list[str]], change: Callable[[Path], object], again: list[str]
) -> None:
    change(project.folder / "a")
    assert counted() == again


def test_the_key_of_a_file_that_add_has_looked_into(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is an archive: its first bytes are read twice, and the key goes by those that went into the layer."""
    path = project.write("a", "q" * 200_000)
    os.utime(path, (MOMENT, MOMENT))
    read: list[tuple[int, int]] = []
    view = HostFileSource.view

    def changing(self: HostFileSource, start: int, length: int) -> memoryview:
        found = view(self, start, length)
        read.append((start, length))
        path.write_text(("r" if len(read) == 1 else "q") * 200_000)
        os.utime(path, (MOMENT, MOMENT))
        return found

    text = "FROM scratch\nADD a /\n"
    with monkeypatch.context() as patch:
        patch.setattr(HostFileSource, "view", changing)
        assert project.build(text).read("/a")[:1] == b"r"
    assert read == [(0, 65536), (0, 200_000)]
    again = project.build(text)
    assert (again.read("/a")[:1], again.log.texts("info")[-1].endswith("(cached)")) == (b"q", False)


def test_an_empty_file_has_a_digest(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert ContextFile(os.fsencode(tmp_path / "a"), os.stat(tmp_path / "a")).digest() == hashlib.sha256().digest()


def test_each_file_is_read_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps copy it, and whether or not a step like it was done before."""
    read: list[tuple[str, int, int]] = []
    view = HostFileSource.view

    def counting(self: HostFileSource, start: int, length: int) -> memoryview:
        read.append((os.path.basename(os.fsdecode(self.path)), start, length))
        return view(self, start, length)

    monkeypatch.setattr(HostFileSource, "view", counting)
    for name, content in (("s/a", "1"), ("s/b", "2" * 3_000_000), ("s/empty", "")):
        os.utime(project.write(name, content), (MOMENT, MOMENT))
    chunks = [("a", 0, 1), *(("b", start, min(1 << 20, 3_000_000 - start)) for start in range(0, 3_000_000, 1 << 20))]
    text = "FROM scratch\nCOPY s /x/\nCOPY s/* /y/\nCOPY --chmod=0600 s/b /z\n"
    for _ in range(2):
        project.build(text)
        assert sorted(read) == chunks
        read.clear()
    os.utime(project.write("s/a", "3"), (MOMENT, MOMENT))
    built = project.build(text)
    # Such a step was done, but with other bytes: for the key, and then for the layer.
    assert sorted(read) == sorted(2 * chunks)
    assert [built.get(path).content.read()[:2] for path in ("/x/a", "/y/a", "/z")] == [b"3", b"3", b"22"]


@pytest.mark.parametrize(
    "step", ["COPY . /x/", "COPY sub* /x/", "RUN --mount=target=/m x", "RUN --mount=source=sub,target=/m x"]
)
def test_what_is_written_beside_what_is_copied(project: Project, runner: Any, step: str) -> None:
    """An artifact, which goes into the folder of the Dockerfile when nothing else is said."""
    project.write("sub/a")
    project.write(".dockerignore", "**/*.squashfs")
    text = f"FROM scratch\n{step}\n"
    project.build(text)
    folder = project.folder / "sub" if "sub" in step else project.folder
    (folder / "root.squashfs").write_text("the artifact")
    (folder / f".other.squashfs.0123{SUFFIX}").write_text("half an artifact")
    os.utime(folder, (MOMENT, MOMENT))
    assert project.build().log.texts("info")[-1].endswith("(cached)")


def test_a_build_whose_artifact_goes_into_the_context(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /x/\n")
    (folder / ".dockerignore").write_text("*.img\n*.json\n")
    argv = [Path(sys.executable).with_name("fledge"), "build", "Dockerfile", "--agent", "none"]
    environ = {**os.environ, "FLEDGE_CACHE_DIR": str(tmp_path / "cache")}
    told = []
    for moment in (MOMENT, MOMENT + 5):
        os.utime(folder, (moment, moment))
        done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=True)
        told.append("COPY . /x/ (cached)" in done.stderr)
    assert (told, (folder / "it.img").exists()) == ([False, True], True)
    (tar,) = (tmp_path / "cache").glob("layers/sha256/*/tar")
    with tarfile.open(tar) as layer:
        assert layer.getnames() == ["x", "x/.dockerignore", "x/Dockerfile"]


@pytest.mark.parametrize(
    ("text", "more", "again"),
    [
        (TEXT, {"build_args": {"v": "2"}}, ["RUN"]),
        (TEXT, {"build_args": {"w": "2"}}, ["RUN"]),
        (TEXT, {"build_args": {"HTTP_PROXY": "2"}}, []),
        (TEXT, {"build_args": {"unknown": "2"}}, []),
        (TEXT.replace("RUN step", "RUN other"), {}, ["RUN"]),
        (TEXT.replace("RUN", "LABEL a=1\nRUN"), {}, []),
        (TEXT.replace("RUN", "USER 1\nRUN"), {}, ["RUN", "WORKDIR"]),
        (TEXT.replace("RUN", "RUN --network=none"), {}, ["RUN"]),
        (TEXT.replace("RUN", "RUN --mount=type=secret,id=s"), {}, ["RUN"]),
        (TEXT.replace("COPY a", "COPY --chown=1 a"), {}, ["COPY", "RUN", "WORKDIR"]),
        (TEXT.replace("COPY a", "COPY --link a"), {}, []),
        (TEXT.replace("COPY a", "COPY ./[a]"), {}, []),
        (TEXT.replace("/y", "/z"), {}, ["WORKDIR"]),
        (TEXT, {"epoch": MOMENT}, ["COPY", "RUN", "WORKDIR"]),
    ],
)
def test_what_a_step_depends_on(
    counted: Callable[..., list[str]], text: str, more: dict[str, Any], again: list[str]
) -> None:
    # A RUN that changes the same as before leaves those after it as they were: keys are made of layers.
    assert counted(text, **more) == again


def test_mounts_are_part_of_the_key(counted: Callable[..., list[str]]) -> None:
    for mount in ("type=cache,target=/m", "type=tmpfs,target=/m", "target=/m", "target=/m,ro,rw", "target=/m,rw,ro"):
        assert counted(TEXT.replace("RUN", f"RUN --mount={mount}")) == ["RUN"]


def test_a_secret_is_not_part_of_the_key(counted: Callable[..., list[str]], tmp_path: Path) -> None:
    text = TEXT.replace("RUN", "RUN --mount=type=secret,id=s")
    (tmp_path / "s").write_text("1")
    counted(text, secrets={"s": tmp_path / "s"})
    (tmp_path / "s").write_text("2")
    assert counted(text, secrets={"s": tmp_path / "s"}) == []


def test_a_stage_that_gives_the_same_again(project: Project, runner: Any) -> None:
    project.write("a", "1")
    runner.make = lambda step, root: [Put(b"made", File(Content.of(b"m"), 0o644))]
    text = "FROM scratch AS one\nCOPY a /\nRUN x\nFROM scratch\nCOPY --from=one /made /\nRUN y\n"
    project.build(text)
    project.write("a", "2")
    told = project.build(text).log.texts("info")
    assert [line.split(" ", 4)[3] for line in told if "(cached)" in line] == ["RUN"], told
    assert told[-1].endswith("RUN y (cached)")


def test_what_was_pruned_is_done_again(project: Project, counted: Callable[..., list[str]]) -> None:
    store = Store(project.store)
    kinds = {item.kind for item in store.items()}
    assert kinds == {"layer", "link"}
    for folder in (project.store / "layers" / "sha256").iterdir():
        shutil.rmtree(folder)
    assert counted() == ["COPY", "RUN", "WORKDIR"]
    assert store.prune(None)
    assert counted() == ["COPY", "RUN", "WORKDIR"]


def test_a_damaged_entry_is_done_again(project: Project, counted: Callable[..., list[str]]) -> None:
    for path in (project.store / "links" / "dockerfile-step").iterdir():
        path.write_bytes(b"{")
    assert counted() == ["COPY", "RUN", "WORKDIR"]


def test_same_inputs_same_bytes(project: Project, tmp_path: Path) -> None:
    for number in range(20):
        path = project.write(f"d{number % 3}/f{number}", str(number))
        os.utime(path, ns=(0, MOMENT * 10**9 + number))
    for folder in ("d0", "d1", "d2", "."):
        os.utime(project.folder / folder, (MOMENT, MOMENT))
    text = "FROM scratch\nCOPY d* /x/\nCOPY <<A /y\na\nA\nWORKDIR /z/q\n"
    project.write("Dockerfile", text)
    here = project.build(text).source.digest
    other = tmp_path / "other"
    shutil.copytree(project.folder, other, symlinks=True)
    script = (
        "import sys; from pathlib import Path; from fledge.testing.builds import context;"
        "from fledge.sources import DockerfileRequest; from fledge.values import Platform;"
        "from fledge.options import NoOptions; from fledge_builder_microvm.driver import Microvm;"
        "folder = Path(sys.argv[1]); builder = Microvm('microvm', NoOptions(), context(folder / '../elsewhere'));"
        "builder.fetch_base = None;"
        "print(builder.build_image(DockerfileRequest(folder / 'Dockerfile', folder, Platform('linux', 'amd64'))).digest)"
    )
    environ = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    told = subprocess.run(
        [sys.executable, "-c", f"import os; os.umask(0o077); {script}", other],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == str(here), told.stderr


@pytest.mark.parametrize("epoch", [None, MOMENT])
def test_steps_that_edit_the_tree_leave_what_their_layers_make(
    project: Project, runner: Any, epoch: int | None
) -> None:
    """RUN gets the tree that the steps edited; a build that has their layers in its cache merges these."""
    for name, moment in (("s/d/old", MOMENT - 5), ("s/d/new", MOMENT + 5), ("s/f", MOMENT + 5), ("s/one", 7)):
        os.utime(project.write(name, name), (moment, moment))
    os.link(project.folder / "s/one", project.folder / "s/two")
    os.symlink("d/old", project.folder / "s/link")
    os.mkfifo(project.folder / "s/fifo", 0o640)
    os.truncate(project.write("s/sparse"), 1 << 20)
    os.setxattr(project.folder / "s/f", "user.x", b"y")
    subprocess.run(["tar", "-C", project.folder, "-cf", project.folder / "a.tar", "s"], check=True)
    text = (
        "FROM scratch AS first\nCOPY s /s/\nWORKDIR /w/x\nCOPY --chown=3:4 --chmod=0711 s/d .\n"
        "FROM first\nCOPY --from=first /s/one /w/x /t/\nADD a.tar /s/d/\nADD a.tar /\nCOPY s/f /s/two\nCOPY <<A /s/link\nhere\nA\nRUN "
    )
    seen: list[Tree] = []
    runner.make = lambda step, root: seen.append(root) or ()
    done = [project.build(f"{text}{number}\n", epoch=epoch).log.texts("info") for number in range(2)]
    assert [sum(line.endswith("(cached)") for line in lines) for lines in done] == [0, 8]
    edited, merged = seen
    assert described(edited) == described(merged)
    assert {b"s/d/s/two", b"t/one", b"s/link", b"w/x/new"} <= described(merged).keys()


def test_source_date_epoch_limits_times(project: Project) -> None:
    """A fresh clone has the times of its checkout, and is the same project all the same."""
    for name, moment in (("old", MOMENT - 5), ("new", MOMENT + 5)):
        os.utime(project.write(name), (moment, moment))
    built = project.build("FROM scratch\nCOPY old new /x/\n", epoch=MOMENT)
    times = {name: built.get(f"/x/{name}") for name in ("old", "new")}
    assert {name: inode and inode.mtime // 10**9 for name, inode in times.items()} == {"old": MOMENT - 5, "new": MOMENT}
    os.utime(project.folder / "new", (MOMENT + 9, MOMENT + 9))
    assert project.build(epoch=MOMENT).source.digest == built.source.digest


class TestOrigins:
    """A layer that does not list its folders: they have the time of the stage or image that is copied from."""

    @pytest.fixture
    def layout(self, project: Project) -> None:
        blobs = Blobs()
        data = tar({"deep/er/f": b"x"})
        images = {
            name: blobs.image(content, created=f"{year}-01-01T00:00:00Z")
            for name, content, year in (
                ("old", data, 2001),
                ("new", data, 2011),
                ("b1", tar({}), 2021),
                ("b2", tar({}), 2031),
            )
        }
        blobs.layout(project.folder / "layout", images)

    @pytest.mark.usefixtures("layout")
    @pytest.mark.parametrize("step", ["COPY --from=s /deep /deep", "RUN --mount=from=s,target=/m cp -a /m/deep /"])
    def test_a_stage_of_the_same_layers_and_another_time(self, project: Project, runner: Any, step: str) -> None:
        text = f"FROM oci:./layout:old AS s\nFROM oci:./layout:b1\n{step}\n"
        assert not project.build(text).log.texts("info")[-1].endswith("(cached)")
        assert project.build(text).log.texts("info")[-1].endswith("(cached)")
        assert not project.build(text.replace("old", "new")).log.texts("info")[-1].endswith("(cached)")

    @pytest.mark.usefixtures("layout")
    @pytest.mark.parametrize("first", ["COPY --from=oci:./layout:old /deep /deep\n", ""])
    def test_whoever_asks_first_for_an_image(self, project: Project, first: str) -> None:
        text = f"FROM oci:./layout:b1 AS s\n{first}FROM oci:./layout:b2\nCOPY --from=oci:./layout:old /deep /deep\n"
        inode = project.build(f"{text}COPY --from=s /nothing* /s/\n").get("/deep/er")
        assert inode is not None
        assert inode.mtime // 10**9 == 1924992000
