"""The distributions as users install them: wheels in fresh environments, chosen plugins, and no privileges."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

import pytest
from fledge.testing.project import PROGRAM, Project
from fledge.testing.venvs import NOBODY, Venv, need_unprivileged_user

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
CHOSEN = ("fledge-strategy-oci", "fledge-fs-squashfs", "fledge-transport-archive")


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def metadata(wheel: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = HeaderParser().parsestr(archive.read(name).decode())
    return {key: message.get_all(key) or [] for key in message}


def test_all_of_the_standard_plugins_are_in_the_extra(wheels: Path) -> None:
    distributions = {normalized(wheel.name.partition("-")[0]) for wheel in wheels.glob("*.whl")}
    libraries = {"fledge", "fledge-guest"}
    assert len(distributions) == len(PACKAGES) + len(libraries)
    (core,) = wheels.glob("fledge-[0-9]*.whl")
    extra = {
        normalized(re.split(r"[ ;<>=]", requirement)[0])
        for requirement in metadata(core)["Requires-Dist"]
        if "extra == 'all'" in requirement.replace('"', "'")
    }
    assert extra == distributions - libraries


def test_every_wheel_tells_its_license_and_readme(wheels: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        told = metadata(wheel)
        assert told["License-Expression"] == ["Apache-2.0"]
        assert told["Requires-Python"] == [">=3.11"]
        with zipfile.ZipFile(wheel) as archive:
            assert any(name.endswith("py.typed") for name in archive.namelist()) or "fledge-" not in wheel.name
            assert not [name for name in archive.namelist() if "/tests/" in name]


def imports(folder: Path) -> Iterator[str]:
    """The top-level name of every module that is imported anywhere below a folder."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", [ROOT / "core", *PACKAGES], ids=lambda path: path.name)
def test_a_package_imports_nothing_that_it_does_not_declare(package: Path) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    # fledge.testing says that it needs the extra `testing`.
    requirements = [*project["dependencies"], *project.get("optional-dependencies", {}).get("testing", ())]
    declared = {normalized(re.split(r"[ ;<>=\[]", text)[0]) for text in requirements}
    declared.add(normalized(project["name"]))
    # The options models of the plugin interface are pydantic's, in whichever version Fledge asks for; pydantic pins
    # its core, whose errors and types it tells users to import from there.
    declared |= {"pydantic", "pydantic-core"}
    providers = importlib.metadata.packages_distributions()
    for name in set(imports(package / "src")) - set(sys.stdlib_module_names):
        found = {normalized(one) for one in providers.get(name, [name])}
        assert found & declared, f"{package.name} imports {name}"


def private(root: Path, wheels: Path, *names: str) -> tuple[Venv, Project]:
    """An environment with only these, and a project that uses it."""
    venv = Venv(ROOT, root / "venv")
    venv.install(wheels, *names)
    project = Project(root / "project", (str(venv.fledge),))
    project.folder.mkdir()
    project.image()
    project.config()
    return venv, project


def test_core_alone_says_what_is_missing(public: Path, wheels: Path) -> None:
    _, project = private(public, wheels, "fledge")
    assert project.run("version").stdout.strip()
    done = project.run("plugins")
    assert done.stdout == ""
    assert "pip install 'fledge[all]'" in done.stderr
    for arguments in (["build"], ["build", "oci:image:latest", "--agent", "none"]):
        said = project.run(*arguments, code=2).stderr
        assert "unknown strategy 'oci_rootfs'; installed: none" in said
        assert "pip install fledge-strategy-oci" in said
    json.loads(project.run("schema", "fledge").stdout)


def test_chosen_plugins_build_and_one_less_is_told(public: Path, wheels: Path) -> None:
    venv, project = private(public, wheels, *CHOSEN)
    listed = json.loads(project.run("plugins", "--json").stdout)
    assert {one["distribution"] for one in listed} == set(CHOSEN)
    artifact = project.build("-o", "kept.img")["artifact"]
    assert project.cat(artifact, "/etc/motd") == b"welcome\n"
    said = project.run("build", "docker://x/y", "--agent", "none", code=2).stderr
    assert "unknown transport 'docker'; installed: docker-archive, oci, oci-archive" in said
    assert "fledge-transport-registry" in said
    project.config(agent='source_strategy = "local"\npath = "agent"')
    assert "fledge-agent-local" in project.run("build", code=2).stderr
    project.config("ext4")
    assert "fledge-fs-ext4" in project.run("build", code=2).stderr

    venv.uninstall("fledge-fs-squashfs")
    venv.install(wheels, "fledge-fs-ext4")
    assert project.build()["format"] == "ext4"
    project.config("squashfs")
    for command in ("build", "validate"):
        said = project.run(command, code=2).stderr
        assert "unknown filesystem 'squashfs'; installed: ext4" in said
        assert "pip install fledge-fs-squashfs" in said
    assert "ext4" in project.run("inspect", artifact, code=1).stderr


def test_all_loads(installed: Venv, public: Path) -> None:
    project = Project(public, (str(installed.fledge),))
    listed = json.loads(project.run("plugins", "--json").stdout)
    assert {one["distribution"] for one in listed} == {f"fledge-{path.name.replace('_', '-')}" for path in PACKAGES}
    assert all(one["failure"] is None for one in listed)


@pytest.mark.parametrize("filesystem", ["squashfs", "ext4", "xfs", "btrfs", "erofs"])
def test_a_whole_build_as_nobody_without_any_program(installed: Venv, public: Path, filesystem: str) -> None:
    nobody = need_unprivileged_user()
    folder = public / "project"
    folder.mkdir()
    project = Project(folder, (str(installed.python), "-I", str(installed.fledge)))
    project.image()
    project.config(filesystem, agent='source_strategy = "local"\npath = "agent"')
    (folder / "agent").write_bytes(PROGRAM)
    home = public / "home"
    home.mkdir()
    project.environ = {"PATH": "", "HOME": str(home)}
    for path in (folder, home):
        os.chown(path, NOBODY, NOBODY)

    built = project.build(**nobody)

    artifact = Path(built["artifact"])
    assert artifact.stat().st_uid == NOBODY
    assert (home / ".cache" / "fledge" / "layers").is_dir()
    project.environ["FLEDGE_CACHE_DIR"] = str(public / "inspect")
    inside = project.inside(artifact)
    assert inside["/usr/bin/again"]["uid"] == 7
    assert inside["/usr/bin/again"]["mode"] == "4755"
    assert inside["/usr/bin/kestrel"]["mode"] == "0755"
