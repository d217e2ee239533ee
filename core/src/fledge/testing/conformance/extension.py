"""What every extension must do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pluggy
import pytest

from fledge import drivers, hookspecs
from fledge.artifact import Artifact, ManifestSection
from fledge.context import BuildContext
from fledge.manifest import schema
from fledge.options import NoOptions
from fledge.output import ArtifactFile
from fledge.plan import BuildPlan, Choice, Mapping
from fledge.sources import ImageReference, ImageRequest
from fledge.testing.conformance.exact import EXACT
from fledge.testing.conformance.sources import image_source
from fledge.testing.project import PLATFORM
from fledge.tree.merge import merge
from fledge.tree.tree import Tree
from fledge.values import Platform
from fledge.verify_tree import differences

OWNED = ("fetch_source", "assemble_tree", "pack_artifact")
COLLECTED = ("apply_mappings", "emit_manifest")


class ExtensionConformance:
    """Calls the hooks of an extension, with a plan and a small image's tree."""

    name: ClassVar[str]
    """The entry point's."""

    def load(self) -> Any:
        """The extension as a build makes it."""
        found = dict(drivers.extensions())[self.name]
        return found() if isinstance(found, type) else found

    def manager(self) -> pluggy.PluginManager:
        """Where it is registered, alone."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.load(), self.name)
        return manager

    @pytest.fixture
    def plan(self, tmp_path: Path) -> BuildPlan:
        """A plan as it comes from fledge.toml."""
        choice = Choice("conformance", NoOptions())
        platform = Platform.parse(PLATFORM)
        return BuildPlan(tmp_path, choice, choice, None, (), {}, platform, epoch=0, name="the-name")

    @pytest.fixture
    def tree(self, fledge_context: BuildContext) -> Tree:
        """The small image's."""
        return _small_tree(fledge_context)

    def test_it_fits_the_hooks(self) -> None:
        """Each method that is marked is a hook, takes only what the hook has, and adds or wraps as that hook allows."""
        manager = self.manager()
        manager.check_pending()
        implemented = 0
        for name in (*OWNED, *COLLECTED):
            for one in getattr(manager.hook, name).get_hookimpls():
                implemented += 1
                assert one.wrapper == (name in OWNED), f"{name}: a driver's hook is wrapped, a collecting one is not"
                assert not one.kwargnames, f"{name}: an argument with a default never gets its value"
        assert implemented, "it implements no hook"

    def test_its_mappings(self, plan: BuildPlan, tree: Tree, fledge_context: BuildContext) -> None:
        """Absolute host paths, the same each time; the tree is for looking at."""
        proposals: list[Sequence[Mapping]] = self.manager().hook.apply_mappings(plan=plan, tree=tree)
        for mapping in (mapping for proposal in proposals for mapping in proposal):
            assert isinstance(mapping, Mapping)
            assert mapping.source.is_absolute()
        assert self.manager().hook.apply_mappings(plan=plan, tree=tree) == proposals
        assert list(differences(_small_tree(fledge_context), tree, EXACT)) == []

    def test_its_sections_of_the_manifest(self, plan: BuildPlan, tree: Tree, tmp_path: Path) -> None:
        """JSON under names of its own, the same each time."""
        target = ArtifactFile(tmp_path / "artifact.img")
        try:
            target.write(0, b"content")
            target.finish(7)
            artifact = Artifact(target, "conformance", tree)
            proposals: list[Sequence[ManifestSection]] = self.manager().hook.emit_manifest(plan=plan, artifact=artifact)
            again = self.manager().hook.emit_manifest(plan=plan, artifact=artifact)
        finally:
            target.discard()
        assert again == proposals
        for section in (section for proposal in proposals for section in proposal):
            assert isinstance(section, ManifestSection)
            assert section.name not in schema()["properties"], f"{section.name} is core's"
            assert json.loads(json.dumps(section.value, allow_nan=False)) == section.value


def _small_tree(build: BuildContext) -> Tree:
    request = ImageRequest(ImageReference("conformance", "image"), Platform.parse(PLATFORM))
    image = image_source(build, request)
    return Tree(merge(image.layers, 0), 0, image.config, str(image.reference))
