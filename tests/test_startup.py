"""Start-up time is a promise: what is not needed is not imported."""

from __future__ import annotations

import json
import sys

import pytest
from fledge.testing.project import Project

HEAVY = {"isal", "jsonschema", "pydantic", "requests", "rich", "stevedore", "urllib3", "zstandard"}

RUN = """
import json, sys
from fledge.cli.main import main
code = main(sys.argv[1:])
json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
sys.exit(code)
"""


def loaded(project: Project, *arguments: str) -> set[str]:
    """The top-level modules that a command has imported by its end."""
    project.program = (sys.executable, "-c", RUN)
    return set(json.loads(project.run(*arguments).stderr.splitlines()[-1]))


def test_the_list_can_fail(project: Project) -> None:
    project.config()
    assert loaded(project, "-q", "build") >= {"pydantic", "isal", "stevedore"}


@pytest.mark.parametrize("command", [["version"], ["--help"], ["build", "--help"]], ids=" ".join)
def test_small_commands_load_nothing_heavy(project: Project, command: list[str]) -> None:
    assert loaded(project, *command) & HEAVY == set()


def test_inspect_loads_no_network_and_no_config(project: Project) -> None:
    project.config()
    project.build()
    assert loaded(project, "inspect", "image-rootfs.img") & {"requests", "jsonschema", "rich"} == set()


@pytest.mark.parametrize("filesystem", ["squashfs", "ext4"])
def test_a_warm_build_of_a_layout_loads_no_network(project: Project, filesystem: str) -> None:
    project.config(filesystem)
    project.build()
    unwanted = {"requests", "urllib3", "rich", "importlib_metadata", "setuptools"}
    assert loaded(project, "-q", "build") & unwanted == set()


def test_drivers_that_are_not_named_are_not_loaded(project: Project) -> None:
    project.config("ext4")
    plugins = {name for name in loaded(project, "-q", "build") if name.startswith("fledge_")}
    assert plugins == {"fledge_strategy_oci", "fledge_guest", "fledge_fs_ext4", "fledge_transport_archive"}
