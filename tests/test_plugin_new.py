"""`fledge plugin new`: every kind's package installs, is found, fails its tests only where it says TODO, and then passes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fledge import drivers
from fledge.cli.main import main
from fledge.errors import UsageError
from fledge.scaffold.package import Package, new_package
from fledge.testing.project import Project, loadable
from fledge.testing.venvs import Venv

ROOT = Path(__file__).resolve().parent.parent

PASSES_AT_ONCE = {
    "test_it_is_installed_and_of_its_kind",
    "test_it_fits_the_hooks",
    "test_an_unknown_option_is_refused",
    "test_every_option_is_documented",
    "test_the_options_have_a_schema",
    "test_creating_it_does_no_work",
}
"""What a package is right in before anything is written."""


def new(folder: Path, kind: str, name: str) -> Package:
    package = Package(kind, name)
    assert new_package(kind, name, folder / package.distribution) == folder / package.distribution
    return package


# The command


def test_a_package_is_made_and_told(project: Project) -> None:
    done = project.run("plugin", "new", "filesystem", "tar")
    assert done.stdout == "fledge-fs-tar\n"
    assert "pip install -e '.[test]'" in done.stderr
    made = sorted(str(path.relative_to(project.folder)) for path in project.folder.glob("fledge-fs-tar/**/*.*"))
    assert made == [
        "fledge-fs-tar/README.md",
        "fledge-fs-tar/pyproject.toml",
        "fledge-fs-tar/src/fledge_fs_tar/__init__.py",
        "fledge-fs-tar/src/fledge_fs_tar/driver.py",
        "fledge-fs-tar/src/fledge_fs_tar/py.typed",
        "fledge-fs-tar/tests/test_conformance.py",
    ]
    said = project.run("plugin", "new", "filesystem", "tar", code=2).stderr
    assert said == (
        "fledge: error: fledge-fs-tar exists already; nothing is overwritten\n  hint: name another folder with --output\n"
    )
    assert project.run("plugin", "new", "agent", "s3", "-o", "below/here").stdout == "below/here\n"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("filesystem", "ext4", "the filesystem 'ext4' exists already; two can't have one name"),
        ("agent", "none", "the agent 'none' exists already; two can't have one name"),
        ("disk", "x", "invalid value for '{"),
        ("filesystem", "", "'' can't be the name of a plugin; expected lowercase letters and digits"),
        ("filesystem", "Tar", "'Tar' can't be the name of a plugin"),
        ("filesystem", "9p", "'9p' can't be the name of a plugin"),
        ("filesystem", "../x", "'../x' can't be the name of a plugin"),
        ("filesystem", "a--b", "'a--b' can't be the name of a plugin"),
        ("filesystem", "x" * 41, "40 characters at most"),
        ("filesystem", "naïve", "can't be the name of a plugin"),
        ("filesystem", "tar\n", "can't be the name of a plugin"),
        ("vmm", "-x", "no such option '-x'"),
    ],
)
def test_what_can_not_be_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    name: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", kind, name]) == 2
    said = capfd.readouterr().err
    assert message in said
    assert [line for line in said.splitlines() if not line.startswith("  hint: ")] == said.splitlines()[:1]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["plugin", "new", "filesystem", "tar", "-o", f"{tmp_path}/file/below"]) == 1
    assert f"can't write {tmp_path}/file/below: Not a directory" in capfd.readouterr().err


@pytest.mark.parametrize("kind", drivers.GROUPS)
def test_the_class_of_any_name_is_one(tmp_path: Path, kind: str) -> None:
    for name in ("class", "tree", "a-b_c9", "source"):
        package = new(tmp_path, kind, name)
        for path in (tmp_path / package.distribution).rglob("*.py"):
            compile(path.read_text(), path, "exec")
            assert "$" not in path.read_text()
    with pytest.raises(UsageError):
        new(tmp_path, kind, "class")


def test_generated_code_is_as_clean_as_ours(tmp_path: Path) -> None:
    for kind in drivers.GROUPS:
        new(tmp_path, kind, "fresh")
    config = ["--no-cache", "--config", ROOT / "pyproject.toml"]
    # As in this repository, tests need no docstrings.
    for words, where in ((["check"], "src"), (["check", "--ignore=D"], "tests"), (["format", "--check"], "*")):
        argv = [ROOT / ".venv/bin/ruff", *words, *config, *sorted(tmp_path.glob(f"*/{where}"))]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


# In an environment of its own


@pytest.fixture(scope="module")
def venv(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """Core with its test kit, and a plugin of every kind, made and installed as they stand."""
    folder = tmp_path_factory.mktemp("plugins")
    made = Venv(ROOT, folder / "venv")
    made.install(wheels, "fledge[testing]")
    project = Project(folder, (str(made.fledge),))
    packages = [project.run("plugin", "new", kind, f"fresh-{kind}").stdout.strip() for kind in drivers.GROUPS]
    made.install(wheels, *(str(folder / package) for package in packages))
    return made


def run(venv: Venv, folder: Path, *more: str) -> dict[str, str]:
    """Runs a package's tests; what each one failed with, or an empty string."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "PYTHONWARNINGS": "error"}
    argv = [
        venv.python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--junitxml",
        "results.xml",
        "-W",
        "error",
        *more,
    ]
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {
        case.attrib["name"]: "".join(
            (child.get("message") or "") + (child.text or "") for child in case if child.tag in ("failure", "error")
        )
        for case in ElementTree.parse(folder / "results.xml").iter("testcase")
    }


@pytest.mark.xdist_group("plugin-new")
def test_what_was_made_is_found(venv: Venv, tmp_path: Path) -> None:
    project = Project(tmp_path / "p", (str(venv.fledge),))
    project.folder.mkdir()
    listed = json.loads(project.run("plugins", "--json").stdout)
    assert [(one["kind"], one["name"], one["failure"]) for one in listed] == [
        (kind, f"fresh-{kind}", None) for kind in drivers.GROUPS
    ]
    assert {one["distribution"] for one in listed} == {
        Package(kind, f"fresh-{kind}").distribution for kind in drivers.GROUPS
    }
    assert '"alignment"' in project.run("schema", "fledge").stdout


@pytest.mark.xdist_group("plugin-new")
@pytest.mark.parametrize("kind", drivers.GROUPS)
def test_it_fails_only_where_it_says_todo(venv: Venv, kind: str) -> None:
    folder = venv.python.parents[2] / Package(kind, f"fresh-{kind}").distribution
    results = run(venv, folder)
    failed = {name: text for name, text in results.items() if text}
    assert failed
    assert {
        name: text[-500:] for name, text in failed.items() if "NotImplementedError" not in text or "TODO" not in text
    } == {}
    assert {name.partition("[")[0] for name in failed} & PASSES_AT_ONCE == set()


@pytest.mark.xdist_group("plugin-new")
def test_what_is_filled_in_passes(venv: Venv, wheels: Path) -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    found = re.search(r"^`fledge_fs_tar.py`:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    package = Package("filesystem", "fresh-filesystem")
    folder = venv.python.parents[2] / package.distribution
    driver = folder / "src" / package.module / "driver.py"
    before = driver.read_text()
    driver.write_text(re.sub(r"\bTar\b", package.driver, found[1]))
    tests = folder / "tests" / "test_conformance.py"
    tests.write_text(tests.read_text().replace("lacks = ()", 'lacks = ("sockets",)'))
    try:
        venv.install(wheels, "--reinstall-package", package.distribution, str(folder))
        results = run(venv, folder)
    finally:
        driver.write_text(before)
    assert len(results) > 40
    assert {name: failure[-500:] for name, failure in results.items() if failure} == {}


def test_the_plugin_of_pytest_is_there_and_silent(tmp_path: Path) -> None:
    assert "filesystem" in drivers.GROUPS
    assert loadable("filesystem")
    (tmp_path / "test_nothing.py").write_text("import sys\ndef test_it(): assert 'pydantic' not in sys.modules\n")
    argv = [ROOT / ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-c", os.devnull]
    done = subprocess.run([*argv, "test_nothing.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    fixtures = subprocess.run([*argv, "--fixtures"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    for name in ("fledge_context", "fledge_log", "fledge_project", "fledge_packed"):
        assert name in fixtures
