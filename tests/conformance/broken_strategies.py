"""Strategies with one mistake each, and the checks of the kit that must find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal
from uuid import uuid4

from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.kinds import Strategy
from fledge.names import file_stem
from fledge.options import StrategyOptions
from fledge.plan import BuildPlan
from fledge.sources import AgentRequest, FileSource, ImageReference, ImageRequest, ImageSource, Request, Source
from fledge.tree.content import Content
from fledge.tree.inode import File
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform


class Good(Strategy):
    """No mistake."""

    caught_by: ClassVar[frozenset[str]] = frozenset()
    options_model: ClassVar = StrategyOptions
    artifact_kind: ClassVar[Literal["rootfs", "initramfs"]] = "rootfs"
    default_filesystem: ClassVar[str] = "ext4"
    filesystems: ClassVar[frozenset[str] | None] = frozenset({"ext4"})

    def requests(self, plan: BuildPlan) -> Sequence[Request]:
        image = ImageRequest(ImageReference("oci", "image"), plan.platform)
        return [image, AgentRequest(plan.agent.name, plan.platform)] if plan.agent else [image]

    def artifact_name(self, plan: BuildPlan) -> str:
        return f"{file_stem(plan.name)}.img"

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        image, agent = sources
        assert isinstance(image, ImageSource)
        assert isinstance(agent, FileSource)
        epoch = (plan.epoch or 0) * 10**9
        tree = Tree(merge(image.layers, epoch), epoch)
        tree.insert(GuestPath.parse("/bin/agent"), File(agent.content, 0o755, mtime=epoch))
        return tree

    def check_tree(self, plan: BuildPlan, tree: Tree) -> None:
        if tree.get(GuestPath.parse("/bin/agent")) is None:
            raise BuildError("/bin/agent is not there")


class GoesWithNothing(Good):
    caught_by: ClassVar = {"test_what_it_is_for"}
    filesystems: ClassVar[frozenset[str] | None] = frozenset({"xfs"})


class AsksForAnotherPlatform(Good):
    caught_by: ClassVar = {"test_its_requests"}

    def requests(self, plan: BuildPlan) -> Sequence[Request]:
        return [replace(one, platform=Platform("linux", "riscv64")) for one in super().requests(plan)]


class FetchesAtOnce(Good):
    caught_by: ClassVar = {"test_its_requests"}

    def requests(self, plan: BuildPlan) -> Sequence[Request]:
        (self.context.store.folder / "fetched").mkdir(parents=True, exist_ok=True)
        return super().requests(plan)


class TakesNamesAsTheyAre(Good):
    caught_by: ClassVar = {"test_the_artifacts_name"}

    def artifact_name(self, plan: BuildPlan) -> str:
        return plan.name


class LosesSetuid(Good):
    caught_by: ClassVar = {"test_every_inode_of_the_image_is_in_the_tree"}

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        tree = super().assemble_tree(plan, sources)
        for _, inode in tree.walk():
            inode.mode &= 0o777
        return tree


class DatesNothing(Good):
    caught_by: ClassVar = {"test_what_it_adds_has_the_time_of_the_epoch"}

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        tree = super().assemble_tree(plan, sources)
        tree.insert(GuestPath.parse("/added"), File(Content.of(b""), 0o644))
        return tree


class NamesTheMachineAnew(Good):
    caught_by: ClassVar = {"test_the_same_tree_each_time"}

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        tree = super().assemble_tree(plan, sources)
        content = Content.of(uuid4().hex.encode())
        tree.insert(GuestPath.parse("/machine-id"), File(content, 0o644, mtime=tree.epoch))
        return tree


class TakesFoldersForGranted(Good):
    caught_by: ClassVar = {"test_what_is_in_the_way_is_an_error_or_replaced[etc is a file]"}

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        tree = super().assemble_tree(plan, sources)
        etc: Any = tree.root.entries[b"etc"]
        if not hasattr(etc, "target"):
            etc.entries[b"added"] = File(Content.of(b""), 0o644, mtime=tree.epoch)
        return tree


class ChecksWithoutLooking(Good):
    caught_by: ClassVar = {"test_a_tree_that_can_not_start_is_refused_in_one_line"}

    def check_tree(self, plan: BuildPlan, tree: Tree) -> None:
        tree.root.entries[b"bin"]
