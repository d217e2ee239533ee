"""What every strategy must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fledge import drivers
from fledge.context import BuildContext
from fledge.errors import FledgeError
from fledge.kinds import Strategy
from fledge.options import NoOptions
from fledge.plan import BuildPlan, Choice
from fledge.sources import AgentRequest, DockerfileRequest, ImageRequest
from fledge.testing.builds import context
from fledge.testing.conformance.driver import DriverConformance, only_if, refusal
from fledge.testing.conformance.exact import EXACT
from fledge.testing.conformance.guards import contents
from fledge.testing.conformance.sources import answer
from fledge.testing.project import LAYERS, PLATFORM
from fledge.testing.tars import archive, member
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import Platform, show_path
from fledge.verify_tree import differences

EPOCH = 1_234_567_890

IN_THE_WAY: Mapping[str, bytes] = {
    "bin is a file": archive(member(b"bin", b"x")),
    "etc is a file": archive(member(b"etc", b"x")),
    "usr is a symlink to itself": archive(member(b"usr", flag=b"2", link=b"usr")),
    "etc leads out": archive(member(b"etc", flag=b"2", link=b"../../../../tmp")),
    "init is a folder": archive(member(b"init/", flag=b"5"), member(b"init/file", b"x")),
    ".fledge is a file": archive(member(b".fledge", b"x")),
    "bin/kestrel is a folder": archive(member(b"bin/kestrel/", flag=b"5"), member(b"bin/kestrel/file", b"x")),
}
"""Layers over the small image: what a strategy puts into the tree meets something else there."""


class StrategyConformance(DriverConformance):
    """Assembles the tree of a small image, which the kit answers the strategy's requests with."""

    filesystem: ClassVar[str | None] = None
    """An installed filesystem for the plan to name; None: one that has no options."""
    has_agent: ClassVar[bool] = True
    """Whether the plan names an agent."""
    has_image: ClassVar[bool] = True
    """Whether it asks for an image, or a Dockerfile's, with these options."""
    starts: ClassVar[bool] = True
    """Whether what it makes of the small image can start; else check_tree refuses that too (a mapping is missing)."""

    kind = "strategy"
    base = Strategy
    hook = "assemble_tree"

    @pytest.fixture
    def tables(self) -> Mapping[str, Any]:
        """The top-level tables of fledge.toml that the strategy owns: `options`, unless overridden."""
        return self.options

    def plan(self, tables: Mapping[str, Any], folder: Path, **more: Any) -> BuildPlan:
        """A plan as it comes from fledge.toml."""
        agent = Choice("conformance", NoOptions()) if self.has_agent else None
        given: dict[str, Any] = {
            "base_dir": folder,
            "strategy": Choice(self.name, self.parse(tables)),
            "filesystem": self._filesystem(),
            "agent": agent,
            "mappings": (),
            "manifest": {},
            "platform": Platform.parse(PLATFORM),
            "artifact_kind": self.driver.artifact_kind,
            "epoch": EPOCH,
            "name": "the-name",
        }
        return BuildPlan(**(given | more))

    def _filesystem(self) -> Choice:
        if self.filesystem is None:
            return Choice("conformance", NoOptions())
        return Choice(self.filesystem, drivers.load("filesystem", self.filesystem).options_model())

    def assemble(
        self, tables: Mapping[str, Any], folder: Path, *, layers: Sequence[bytes] = LAYERS, jobs: int = 2
    ) -> Tree:
        """The tree that core goes on with."""
        plan = self.plan(tables, folder)
        build = context(folder / "cache", jobs=jobs)
        driver = self.driver(self.name, plan.strategy.options, build)
        sources = [answer(build, request, layers) for request in driver.requests(plan)]
        tree: Tree = driver.assemble_tree(plan, sources)
        return tree

    def test_what_it_is_for(self) -> None:
        """The class attributes that the config is checked with."""
        assert self.driver.artifact_kind in ("rootfs", "initramfs")
        assert isinstance(self.driver.default_filesystem, str)
        if self.driver.filesystems is not None:
            assert self.driver.default_filesystem in self.driver.filesystems

    def test_its_requests(self, tables: Mapping[str, Any], tmp_path: Path) -> None:
        """They are for the plan's platform and agent, the same each time, and nothing is done yet."""
        plan = self.plan(tables, tmp_path)
        build = context(tmp_path / "cache")
        driver = self.driver(self.name, plan.strategy.options, build)
        before = contents(tmp_path)
        requests = driver.requests(plan)
        assert list(driver.requests(plan)) == list(requests)
        assert contents(tmp_path) == before
        assert all(isinstance(one, AgentRequest | ImageRequest | DockerfileRequest) for one in requests)
        assert {one.platform for one in requests} <= {plan.platform}
        assert any(isinstance(one, ImageRequest | DockerfileRequest) for one in requests) == self.has_image
        assert [one.driver for one in requests if isinstance(one, AgentRequest)] == (
            ["conformance"] if self.has_agent else []
        )

    def test_the_artifacts_name(self, tables: Mapping[str, Any], tmp_path: Path) -> None:
        """A file name, and no path: the name may come from an image."""
        for name in ("the-name", "a/b:c d", "../up"):
            plan = self.plan(tables, tmp_path, name=name)
            driver = self.driver(self.name, plan.strategy.options, context(tmp_path / "cache"))
            found = driver.artifact_name(plan)
            assert found
            assert "/" not in found
            assert found not in (".", "..")

    @only_if(lambda cls: cls.has_image)
    def test_every_inode_of_the_image_is_in_the_tree(
        self, tables: Mapping[str, Any], tmp_path: Path, fledge_context: BuildContext
    ) -> None:
        """As the layers say, whatever the strategy adds."""
        expected = Tree(merge(_layers(fledge_context), EPOCH * 10**9))
        found = self.assemble(tables, tmp_path)
        assert [
            f"{show_path(one.path or b'')}: {one.what}"
            for one in differences(expected, found, EXACT)
            if one.expected != "nothing"  # What it adds.
        ] == []

    def test_what_it_adds_has_the_time_of_the_epoch(
        self, tables: Mapping[str, Any], tmp_path: Path, fledge_context: BuildContext
    ) -> None:
        """No other time is the same tomorrow."""
        image = {path for path, _ in Tree(merge(_layers(fledge_context), 0)).walk()}
        tree = self.assemble(tables, tmp_path)
        wrong = {
            show_path(path): inode.mtime
            for path, inode in tree.walk()
            if path not in image and inode.mtime != EPOCH * 10**9
        }
        assert wrong == {}

    def test_the_same_tree_each_time(self, tables: Mapping[str, Any], tmp_path: Path) -> None:
        """Also with a warm store and other jobs: sources and options are not changed by it."""
        one, two = (self.assemble(tables, tmp_path, jobs=jobs) for jobs in (1, 4))
        assert list(differences(one, two, EXACT)) == []

    @pytest.mark.parametrize("layer", IN_THE_WAY.values(), ids=list(IN_THE_WAY))
    def test_what_is_in_the_way_is_an_error_or_replaced(
        self, tables: Mapping[str, Any], tmp_path: Path, layer: bytes
    ) -> None:
        """Paths are looked up inside the tree, and what can't be put there is told in one line."""
        try:
            tree = self.assemble(tables, tmp_path, layers=(*LAYERS, layer))
        except FledgeError as error:
            assert "\n" not in error.message  # noqa: PT017
        else:
            list(tree.walk())

    def test_a_tree_that_can_not_start_is_refused_in_one_line(self, tables: Mapping[str, Any], tmp_path: Path) -> None:
        """check_tree takes what assemble_tree made, and tells what is wrong with a tree without anything."""
        plan = self.plan(tables, tmp_path)
        driver = self.driver(self.name, plan.strategy.options, context(tmp_path / "cache"))
        tree = self.assemble(tables, tmp_path)
        if self.starts:
            driver.check_tree(plan, tree)
        else:
            refusal(lambda: driver.check_tree(plan, tree))
        if type(driver).check_tree is not Strategy.check_tree:
            tree.root.entries = {}
            refusal(lambda: driver.check_tree(plan, tree))


def _layers(build: BuildContext) -> Sequence[Any]:
    from fledge.testing.tars import add_layer

    return [add_layer(build.store, layer) for layer in LAYERS]
