"""The documents say what is: hooks, kinds, commands, flags, variables and links are checked against the code.

The plugins of docs/plugins.md are installed as they stand there, and build.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from fledge import config as configuration
from fledge import drivers, hookspecs, kinds
from fledge.cli.main import cli
from fledge.testing.project import Project, site_packages

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
)
SOURCES = [
    path
    for path in [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    if "testing" not in path.parts
]

OF_THE_SYSTEM = {"HOME", "PATH", "TERM", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"}
"""Variables that mean what they mean everywhere."""

HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "fledge_spec")]
KINDS = [value for value in vars(kinds).values() if inspect.isclass(value) and issubclass(value, kinds.Driver)]


# Hooks and kinds


def test_the_hooks_are_found() -> None:
    assert len(HOOKS) == 5


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_arguments(name: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
    assert f"### `{name}({arguments})`\n" in PLUGINS


@pytest.mark.parametrize(("kind", "group"), drivers.GROUPS.items())
def test_every_kind_is_documented_with_its_group(kind: str, group: str) -> None:
    assert re.search(rf"^\| {kind} \| `{re.escape(group)}` \|", PLUGINS, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_method_of_a_driver_is_documented(kind: type[kinds.Driver]) -> None:
    if kind is not kinds.Driver:
        assert f"### {kind.__name__}\n" in PLUGINS
    for name in kind.__abstractmethods__:
        assert f"- `{name}(" in PLUGINS, name


# The command line


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


COMMANDS = dict(commands(cli))
GLOBAL = {flag for param in cli.params for flag in param.opts} | {"-h", "--help"}


def flags(command: click.Command) -> set[str]:
    return {flag for param in command.params if isinstance(param, click.Option) for flag in param.opts}


def calls(text: str) -> list[str]:
    """Every call of fledge: lines of code blocks, and code in the text."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [one for one in lines + re.findall(r"`([^`\n]+)`", text) if re.match(r"fledge [a-z]", one)]


@pytest.mark.parametrize(
    ("document", "call"), [(path.relative_to(ROOT), call) for path in DOCUMENTS for call in calls(path.read_text())]
)
def test_every_call_in_a_document_exists(document: Path, call: str) -> None:
    words = call.partition("#")[0].split()[1:]
    depth = 2 if tuple(words[:2]) in COMMANDS else 1
    if words[0] == "cache" and len(words) > 1 and "|" in words[1]:
        assert all(("cache", name) in COMMANDS for name in words[1].split("|"))
        return
    assert tuple(words[:depth]) in COMMANDS or words == ["cache"], f"no such command: {call}"
    if words == ["cache"]:
        return
    there = flags(COMMANDS[tuple(words[:depth])]) | GLOBAL
    for flag in re.findall(r"(?<!\S)--?[a-z][a-z-]*", " ".join(words[depth:])):
        assert flag in there, f"{call}: no {flag}"


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_the_readme_has_every_command_and_flag(name: tuple[str, ...]) -> None:
    assert f"`fledge {' '.join(name)}" in README
    for flag in flags(COMMANDS[name]) - GLOBAL:
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", README), flag


# Configs


def test_the_configs_of_the_readme_are_right(tmp_path: Path) -> None:
    config, manifest = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "fledge.toml").write_text(config)
    (tmp_path / "manifest.toml").write_text(manifest)
    plan = configuration.load(tmp_path / "fledge.toml", tmp_path / "manifest.toml")
    assert plan.name == "nginx"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(ROOT.glob("examples/*/*.toml")) if path.name != "manifest.toml"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_configs_of_the_examples_are_right(path: Path) -> None:
    configuration.load(path, path.parent / "manifest.toml")


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/*/README.md")), ids=lambda path: path.parent.name)
def test_the_readme_of_a_plugin_shows_its_keys_and_tells_how_it_is_tested(path: Path) -> None:
    text = path.read_text()
    # A VMM has no keys: a flag names it.
    assert re.search(
        r"^fledge boot .*--vmm " if path.parent.name.startswith("vmm_") else r"^```toml$", text, re.MULTILINE
    )
    assert "## Tests\n" in text


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/fs_*/README.md")), ids=lambda path: path.parent.name)
def test_the_readme_of_a_filesystem_has_every_option(path: Path) -> None:
    text = re.findall(r"^```toml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)[0]
    table = tomllib.loads(text)["filesystem"]
    model = drivers.load("filesystem", table.pop("type")).options_model
    assert model.model_validate(table).model_fields_set == set(model.model_fields)


# Variables, links


def test_the_readme_has_every_environment_variable() -> None:
    code = "".join(path.read_text() for path in SOURCES)
    used = re.findall(r'"(FLEDGE_[A-Z_]+)"|environ(?:\.get\(|\[)"([A-Z_]+)"', code)
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert {one or other for one, other in used} - OF_THE_SYSTEM == documented


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_is_dead(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], target


# The plugins of docs/plugins.md


def files(title: str) -> dict[str, str]:
    """The files of one section: a name in code on a line of its own, and the block below it."""
    section = re.split(r"^## ", PLUGINS.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


def install(title: str, project: Project) -> None:
    """What pip does: the modules, and metadata with the entry points."""
    found = files(title)
    described = tomllib.loads(found.pop("pyproject.toml"))["project"]
    site = project.folder.parent / "site"
    site_packages(site, described["name"], described["entry-points"])
    for name, text in found.items():
        (site / name).write_text(text)
    project.environ["PYTHONPATH"] = str(site)


def test_the_filesystem_of_the_tutorial_builds_and_reads_back(project: Project) -> None:
    install("A filesystem from zero", project)
    project.config("tar", more="blocking_factor = 1")

    assert "fledge-fs-tar" in project.run("plugins").stdout
    artifact = project.build()["artifact"]

    assert project.manifest()["rootfs"]["format"] == "tar"
    listing = subprocess.run(["tar", "--numeric-owner", "-tvf", artifact], capture_output=True, text=True, check=True)
    assert "./bin -> usr/bin\n" in listing.stdout
    assert "./usr/bin/app link to ./usr/bin/again\n" in listing.stdout
    assert re.search(r"^-rw-r----- 0/8 +8 .* \./etc/motd$", listing.stdout, re.MULTILINE)
    assert project.cat(artifact, "/etc/motd") == b"welcome\n"
    project.config("squashfs")
    own, squashfs = project.inside(artifact), project.inside(project.build("-o", "squashfs.img")["artifact"])
    # squashfs tells the guest init how large its overlay may become.
    del own["/.fledge/workload"], squashfs["/.fledge/workload"]
    assert own == squashfs


def test_the_filesystem_of_the_tutorial_passes_the_checks_of_its_kind(project: Project) -> None:
    install("A filesystem from zero", project)
    site = project.environ["PYTHONPATH"]
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", site]
    argv += ["--basetemp", str(project.folder / "tests"), f"{site}/test_fledge_fs_tar.py"]
    done = subprocess.run(argv, cwd=site, env=project.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = re.search(r"(\d+) passed", done.stdout)
    assert count is not None
    assert int(count[1]) > 45


def test_the_options_of_the_tutorial_are_checked(project: Project) -> None:
    install("A filesystem from zero", project)
    project.config("tar", more="blocking_factor = 0")

    problem = project.run("validate", code=2).stderr
    assert "filesystem.blocking_factor" in problem
    assert "1 to 4096" in problem
    assert '"blocking_factor"' in project.run("schema", "fledge").stdout


def test_the_extension_of_the_tutorial_adds_its_section(project: Project) -> None:
    install("An extension from zero", project)
    (project.folder / "installed").write_text("C:Q1\nP:musl\nV:1.2.5-r0\nF:lib\n\nC:Q2\nP:zlib\nV:1.3.1-r2\n")
    project.config(more='[mappings]\n"installed" = "/lib/apk/db/installed"')

    project.build()

    assert project.manifest()["packages"] == [
        {"manager": "apk", "name": "musl", "version": "1.2.5-r0"},
        {"manager": "apk", "name": "zlib", "version": "1.3.1-r2"},
    ]


def test_the_policy_of_the_tutorial_refuses(project: Project) -> None:
    install("A policy from zero", project)
    project.config()

    said = project.run("build", code=1).stderr

    assert said.endswith("fledge: error: /usr/bin/again is setuid; the policy forbids it\n")
    assert not list(project.folder.glob("*.img"))
    assert project.leftovers() == []
