"""Same inputs, same bytes, whoever builds them where and when (spec section 7, case 92)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fledge.testing.project import CONFIG, LAYERS, PROGRAM, Project
from fledge.testing.tars import archive, member
from fledge.testing.trees import data
from fledge.testing.venvs import NOBODY, Venv, need_unprivileged_user

FORMATS = ["squashfs", "ext4", "xfs", "btrfs", "erofs"]


def prepare(folder: Path, filesystem: str, program: tuple[str, ...] = ()) -> Project:
    """A project with the same inputs each time: several layers, an agent, a mapped folder."""
    folder.mkdir()
    project = Project(folder, program)
    many = archive(
        *(member(b"many/%03d" % number, data(number * 37, number)) for number in range(300)),
        member(b"text", b"the same again " * 50_000),
    )
    project.image(*LAYERS, many, **CONFIG)
    (folder / "agent").write_bytes(PROGRAM)
    (folder / "site").mkdir()
    for name in ("b", "a", "c"):
        (folder / "site" / name).write_text(name)
    project.config(filesystem, agent='source_strategy = "local"\npath = "agent"', more='[mappings]\n"site" = "/srv"\n')
    return project


def result(project: Project, **more: object) -> tuple[str, bytes, bytes]:
    """The digest, the artifact's bytes, and those of the manifest but for where the artifact is."""
    # With --artifact-url the manifest does not tell the folder.
    built = project.build("--artifact-url", "https://example.org/a.img", **more)
    return built["digest"], Path(built["artifact"]).read_bytes(), Path(built["manifest"]).read_bytes()


@pytest.fixture(params=FORMATS)
def filesystem(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def first(tmp_path: Path, filesystem: str) -> tuple[str, bytes, bytes]:
    return result(prepare(tmp_path / "first", filesystem))


Vary = Callable[[Project], dict[str, object]]


def one_core(_: Project) -> dict[str, object]:
    core = min(os.sched_getaffinity(0))
    return {"preexec_fn": lambda: os.sched_setaffinity(0, {core})}


def another_umask(project: Project) -> dict[str, object]:
    # What a checkout under that umask looks like, too.
    for path in project.folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return {"umask": 0o077}


def another_time_of_the_inputs(project: Project) -> dict[str, object]:
    for number, path in enumerate(sorted(project.folder.rglob("*"))):
        os.utime(path, (number, number))
    return {}


def another_order_in_the_folder(project: Project) -> dict[str, object]:
    shutil.rmtree(project.folder / "site")
    (project.folder / "site").mkdir()
    for name in ("c", "a", "b"):
        (project.folder / "site" / name).write_text(name)
    return {}


def environment(**variables: str) -> Vary:
    def vary(project: Project) -> dict[str, object]:
        project.environ |= variables
        return {}

    vary.__name__ = " ".join(variables)
    return vary


@pytest.mark.parametrize(
    "vary",
    [
        one_core,
        another_umask,
        another_time_of_the_inputs,
        another_order_in_the_folder,
        environment(TZ="Pacific/Kiritimati", LC_ALL="tr_TR.UTF-8", LANG="C", LANGUAGE="de"),
        environment(PYTHONHASHSEED="1", PYTHONUTF8="0", LC_ALL="C"),
        environment(HOME="/nonexistent", USER="other", TMPDIR="/var/tmp", COLUMNS="20"),
    ],
    ids=lambda vary: vary.__name__,
)
def test_case_092_the_same_bytes(tmp_path: Path, filesystem: str, first: tuple[str, bytes, bytes], vary: Vary) -> None:
    other = prepare(tmp_path / "other", filesystem)
    assert result(other, **vary(other)) == first


def test_case_092_the_same_bytes_with_any_state_of_the_cache(
    tmp_path: Path, filesystem: str, first: tuple[str, bytes, bytes]
) -> None:
    project = prepare(tmp_path / "other", filesystem)
    assert result(project) == first, "cold"
    assert result(project) == first, "warm"
    for path in project.cache.glob("packs/**/*"):
        if path.is_file():
            path.unlink()
    assert result(project) == first, "without packs"
    project.run("cache", "prune", "--all")
    assert result(project) == first, "pruned"
    project.config("ext4" if filesystem == "squashfs" else "squashfs")
    project.build()
    shutil.copy(tmp_path / "first" / "fledge.toml", project.folder)
    assert result(project) == first, "after another filesystem"


def test_case_092_the_same_bytes_from_another_folder(
    tmp_path: Path, filesystem: str, first: tuple[str, bytes, bytes]
) -> None:
    project = prepare(tmp_path / "other", filesystem)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    built = project.build(
        "-c", project.folder / "fledge.toml", "--artifact-url", "https://example.org/a.img", cwd=elsewhere
    )
    artifact = Path(built["artifact"])
    assert artifact.parent == elsewhere
    assert (built["digest"], artifact.read_bytes(), Path(built["manifest"]).read_bytes()) == first


def test_case_092_the_same_bytes_as_nobody(
    public: Path, installed: Venv, filesystem: str, first: tuple[str, bytes, bytes]
) -> None:
    nobody = need_unprivileged_user()
    project = prepare(public / "project", filesystem, (str(installed.python), str(installed.fledge)))
    os.chown(project.folder, NOBODY, NOBODY)
    assert result(project, **nobody) == first


def test_another_input_gives_other_bytes(tmp_path: Path, filesystem: str, first: tuple[str, bytes, bytes]) -> None:
    project = prepare(tmp_path / "other", filesystem)
    (project.folder / "site" / "a").write_text("A")
    digest, artifact, manifest = result(project)
    assert digest != first[0]
    assert artifact != first[1]
    assert manifest != first[2]


def test_source_date_epoch_is_the_time_of_what_no_layer_lists(project: Project, filesystem: str) -> None:
    project.config(filesystem)
    project.environ["SOURCE_DATE_EPOCH"] = "1000000000"
    inside = project.inside(project.build()["artifact"])
    second = 10**9
    assert inside["/etc/fsify-entrypoint"]["mtime_ns"] == 1_000_000_000 * second
    assert inside["/usr"]["mtime_ns"] == 1_000_000_000 * second
    assert inside["/etc"]["mtime_ns"] == 1_600_000_000 * second, "the layer's own"
    first = project.build()["digest"]
    project.environ["SOURCE_DATE_EPOCH"] = "1000000001"
    assert project.build()["digest"] != first


def test_a_malformed_source_date_epoch_is_refused(project: Project) -> None:
    project.config()
    project.environ["SOURCE_DATE_EPOCH"] = "yesterday"
    assert "SOURCE_DATE_EPOCH" in project.run("build", code=2).stderr
