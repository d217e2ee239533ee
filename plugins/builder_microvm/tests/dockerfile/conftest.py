"""A project whose RUN steps make the changes that a test gives; those in machines are tested one folder up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from fledge.context import BuildContext
from fledge.options import NoOptions
from fledge.testing.dockerfiles import Project
from fledge.tree.tree import Tree
from fledge.values import Platform
from fledge_builder_microvm.changes import Change
from fledge_builder_microvm.driver import Microvm
from fledge_builder_microvm.steps import Runner, RunStep


class GivenRunner:
    """Makes what `make` says, and remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[RunStep] = []
        self.hindrance: str | None = None
        self.make: Callable[[RunStep, Tree], Iterable[Change]] = lambda step, root: ()

    def obstacle(self) -> str | None:
        return self.hindrance

    def run(self, step: RunStep, root: Tree) -> Iterable[Change]:
        self.steps.append(step)
        return self.make(step, root)


@pytest.fixture
def runner() -> GivenRunner:
    return GivenRunner()


@pytest.fixture
def make_builder(runner: GivenRunner) -> Callable[[BuildContext], Microvm]:
    class Builder(Microvm):
        def runner(self, platform: Platform) -> Runner:
            return runner

    return lambda context: Builder("microvm", NoOptions(), context)


@pytest.fixture
def project(tmp_path: Path, make_builder: Callable[[BuildContext], Microvm]) -> Project:
    return Project(tmp_path, make_builder)
