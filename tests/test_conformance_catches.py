"""The conformance kit finds what it is there for: drivers with one mistake each fail the check for it, and no other."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fledge.testing.project import site_packages
from fledge.testing.shared import once

ROOT = Path(__file__).resolve().parent.parent
BROKEN = Path(__file__).parent / "conformance"

DEAR = (
    "test_a_damaged_artifact_is_an_error_or_a_tree",
    "test_a_deep_tree_is_packed_or_refused",
    "test_a_folder_of_many_entries",
    "test_every_variant_is_read_back",
    "test_memory_stays_flat",
    "test_no_other_driver_recognizes_it",
    "test_the_same_bytes_in_another_environment",
)
"""Checks that take long, and that run for those drivers only that are to fail them."""

CHECKS = """
from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import Limit, links_of
from fledge.tree.inode import File


class Checks(FilesystemConformance):
    lacks = ("sockets",)
    limits = (Limit("hard links", links_of, 300),)
    variants = ({"blocking_factor": 1},)


class Quick(Checks):
    def hard_tree(self):
        tree = super().hard_tree()
        for name in (b"holes", b"many", b"names", b"times"):
            del tree.root.entries[name]
        files = tree.root.entries[b"sizes"].entries
        for name in [name for name, file in files.items() if file.content.size > 8192]:
            del files[name]
        return tree
"""


def expected(path: Path) -> Mapping[str, frozenset[str]]:
    """Each driver of a module, and which checks it must fail."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        for below in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(below, ast.AnnAssign) and ast.unparse(below.target) == "caught_by":
                assert isinstance(node, ast.ClassDef)
                assert below.value is not None
                literal = isinstance(below.value, ast.Set)
                found[node.name] = frozenset(ast.literal_eval(below.value)) if literal else frozenset[str]()
    return found


FILESYSTEMS = expected(BROKEN / "broken_filesystems.py")


def tutorial() -> str:
    """The driver of docs/plugins.md."""
    text = (ROOT / "docs" / "plugins.md").read_text()
    found = re.search(r"^`fledge_fs_tar.py`:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def checks_of(driver: str) -> str:
    """The test class of a driver."""
    wanted = {check.partition("[")[0] for check in FILESYSTEMS[driver]}
    # Another process packs the whole hard tree.
    base = "Checks" if "test_the_same_bytes_in_another_environment" in wanted else "Quick"
    lines = [f"class Test{driver}({base}):", f'    name = "{driver.lower()}"']
    lines += [f"    {check} = None" for check in DEAR if check not in wanted]
    return "\n\n" + "\n".join(lines) + "\n"


def run(folder: Path) -> None:
    """Installs the drivers in `folder`, and runs the kit on them."""
    (folder / "fledge_fs_tar.py").write_text(tutorial())
    (folder / "broken_filesystems.py").write_text((BROKEN / "broken_filesystems.py").read_text())
    points = {driver.lower(): f"broken_filesystems:{driver}" for driver in FILESYSTEMS}
    site_packages(folder, "fledge-fs-broken", {"fledge.filesystems": points})
    (folder / "test_broken.py").write_text(CHECKS + "".join(map(checks_of, FILESYSTEMS)))
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    argv += ["-c", os.devnull, "--rootdir", ".", "--junitxml", "results.xml", "test_broken.py"]
    environ = {**os.environ, "PYTHONPATH": str(folder), "HOME": str(folder / "home")}
    # Hundreds of artifacts are brought to disk, which need not be one.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as temporary:
        argv += ["--basetemp", f"{temporary}/tests"]
        done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    (folder / "said").write_text(done.stdout + done.stderr)


@pytest.fixture(scope="session")
def results() -> Iterator[Path]:
    """The folder in which the kit ran on all of the drivers."""
    with once("catches", run) as folder:
        yield folder


@pytest.mark.xdist_group("catches")
@pytest.mark.parametrize("driver", FILESYSTEMS)
def test_a_mistake_fails_its_check_and_no_other(results: Path, driver: str) -> None:
    cases = [
        case
        for case in ElementTree.parse(results / "results.xml").iter("testcase")
        if case.attrib["classname"].endswith(f".Test{driver}")
    ]
    assert len(cases) > 40, (results / "said").read_text()[-3000:]
    failed = {case.attrib["name"]: case for case in cases if {"failure", "error"} & {child.tag for child in case}}
    told = {name: "".join(child.text or "" for child in case)[-800:] for name, case in failed.items()}
    assert set(failed) == FILESYSTEMS[driver], told
