"""The conformance kit finds what it is there for: drivers with one mistake each fail the check for it, and no other."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from fledge import drivers
from fledge.testing.conformance import guards, packing
from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.oracles import need_root
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

CHECKS = {
    "filesystem": """
from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import Limit, links_of


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
""",
    "agent": """
import pytest
from fledge.testing.conformance.agent import AgentConformance


class Checks(AgentConformance):
    checksum_option = "checksum"

    @pytest.fixture
    def offer(self, tmp_path):
        def offer(binary):
            if binary is not None:
                (tmp_path / "agent").write_bytes(binary)
            return {"path": "agent"}

        return offer
""",
    "transport": """
import pytest
from fledge.testing.conformance.transport import TransportConformance


class Checks(TransportConformance):
    @pytest.fixture
    def publish(self, tmp_path):
        def publish(blobs, top):
            for digest, data in blobs.by_digest.items():
                (tmp_path / digest).write_bytes(data)
            if top is not None:
                (tmp_path / "top").write_text(top["digest"])
            return str(tmp_path)

        return publish
""",
    "strategy": """
from fledge.testing.conformance.strategy import StrategyConformance


class Checks(StrategyConformance):
    pass
""",
    "builder": """
from fledge.testing.conformance.builder import BuilderConformance


class Checks(BuilderConformance):
    pass
""",
    "vmm": """
from fledge.testing.conformance.vmm import VmmConformance


class Checks(VmmConformance):
    pass
""",
    "extension": """
from fledge.testing.conformance.extension import ExtensionConformance


class Checks(ExtensionConformance):
    pass
""",
}
"""How the drivers of each kind are checked."""

MODULES = {"strategy": "strategies"}


def module_of(kind: str) -> str:
    """The module of a kind's broken drivers."""
    return f"broken_{MODULES.get(kind, f'{kind}s')}"


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


DRIVERS = {kind: expected(BROKEN / f"{module_of(kind)}.py") for kind in CHECKS}


def tutorial() -> str:
    """The driver of docs/plugins.md."""
    text = (ROOT / "docs" / "plugins.md").read_text()
    found = re.search(r"^`fledge_fs_tar.py`:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def checks_of(kind: str, driver: str) -> str:
    """The test class of a driver."""
    base = "Checks"
    left_out: list[str] = []
    if kind == "filesystem":
        wanted = {check.partition("[")[0] for check in DRIVERS[kind][driver]}
        left_out = [check for check in DEAR if check not in wanted]
        # Another process packs the whole hard tree.
        base = "Checks" if "test_the_same_bytes_in_another_environment" in wanted else "Quick"
    lines = [f"class Test{driver}({base}):", f'    name = "{driver.lower()}"']
    return "\n\n" + "\n".join([*lines, *(f"    {check} = None" for check in left_out)]) + "\n"


def run(folder: Path) -> None:
    """Installs the drivers in `folder`, and runs the kit on them."""
    (folder / "fledge_fs_tar.py").write_text(tutorial())
    points = {}
    for kind, found in DRIVERS.items():
        module = module_of(kind)
        (folder / f"{module}.py").write_text((BROKEN / f"{module}.py").read_text())
        (folder / f"test_{kind}.py").write_text(CHECKS[kind] + "".join(checks_of(kind, driver) for driver in found))
        points[drivers.GROUPS[kind]] = {driver.lower(): f"{module}:{driver}" for driver in found}
    site_packages(folder, "fledge-broken", points)
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    argv += ["-c", os.devnull, "--rootdir", ".", "--junitxml", "results.xml", *(f"test_{kind}.py" for kind in CHECKS)]
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
@pytest.mark.parametrize(("kind", "driver"), [(kind, driver) for kind in DRIVERS for driver in DRIVERS[kind]])
def test_a_mistake_fails_its_check_and_no_other(results: Path, kind: str, driver: str) -> None:
    cases = [
        case
        for case in ElementTree.parse(results / "results.xml").iter("testcase")
        if case.attrib["classname"] == f"test_{kind}.Test{driver}"
    ]
    assert len(cases) >= 3, (results / "said").read_text()[-3000:]
    assert [case for case in cases if any(child.tag == "skipped" for child in case)] == []
    failed = {case.attrib["name"]: case for case in cases if {"failure", "error"} & {child.tag for child in case}}
    told = {name: "".join(child.text or "" for child in case)[-800:] for name, case in failed.items()}
    # A name without a case stands for all cases of a check.
    expected = {
        case.attrib["name"]
        for case in cases
        if {case.attrib["name"], case.attrib["name"].partition("[")[0]} & DRIVERS[kind][driver]
    }
    assert expected or not DRIVERS[kind][driver]
    assert set(failed) == expected, told


class Squashfs(FilesystemConformance):
    name = "squashfs"
    options: ClassVar = {"compression_level": 1}
    kernel = "squashfs"
    lacks = ("acls",)


def test_what_a_writer_and_its_reader_get_wrong_alike_the_kernel_finds(tmp_path: Path) -> None:
    need_root()
    checks = Squashfs()
    checks.test_the_kernel_sees_the_same(checks.pack_hard_tree(tmp_path / "right"))
    tree = checks.hard_tree()
    tree.root.entries[b"empty"].mode ^= 0o1
    packed = checks.pack(tree, tmp_path / "wrong")
    assert packed.differences == []
    with pytest.raises(AssertionError, match=r"/empty: mode"):
        checks.test_the_kernel_sees_the_same(packed)


def test_a_loop_and_a_bomb_are_ended() -> None:
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[1]
    with pytest.raises(guards.TookTooLongError), guards.within(0.05):
        while True:
            pass
    with pytest.raises(MemoryError), guards.at_most_memory(1 << 20):
        bytearray(4 << 30)  # More than a long run can have freed: malloc hands that out again.
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[1]) == before


def test_the_memory_that_is_measured_is_not_that_of_the_tests(tmp_path: Path) -> None:
    here = bytearray(b"x") * (400 << 20)
    assert packing.peak_memory("squashfs", {}, 1 << 20, tmp_path) < 200 << 20 < len(here)
