"""Extensions with one mistake each, and the checks of the kit that must find it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from fledge.artifact import ManifestSection
from fledge.hookspecs import hookimpl
from fledge.plan import Mapping
from fledge.tree.content import Content
from fledge.values import GuestPath


class Good:
    """No mistake."""

    caught_by: ClassVar[frozenset[str]] = frozenset()

    @hookimpl
    def apply_mappings(self) -> Sequence[Mapping]:
        return [Mapping(Path("/etc/hostname"), GuestPath.parse("/etc/hostname"))]

    @hookimpl
    def emit_manifest(self) -> Sequence[ManifestSection]:
        return [ManifestSection("own", {"a": [1, None]})]

    @hookimpl(wrapper=True)
    def assemble_tree(self) -> Generator[None, Any, Any]:
        return (yield)


class DoesNothing:
    caught_by: ClassVar = {"test_it_fits_the_hooks"}

    def emit_manifest(self) -> Sequence[ManifestSection]:
        return []


class OwnsADriversHook(Good):
    caught_by: ClassVar = {"test_it_fits_the_hooks"}

    @hookimpl
    def fetch_source(self, request: object) -> None:
        return None


class MisspellsAHook(Good):
    caught_by: ClassVar = {"test_it_fits_the_hooks"}

    @hookimpl
    def emit_manifests(self) -> Sequence[ManifestSection]:
        return []


class HasADefault(Good):
    caught_by: ClassVar = {"test_it_fits_the_hooks"}

    @hookimpl
    def emit_manifest(self, plan: object = None) -> Sequence[ManifestSection]:
        return []


class MapsRelativePaths(Good):
    caught_by: ClassVar = {"test_its_mappings"}

    @hookimpl
    def apply_mappings(self) -> Sequence[Mapping]:
        return [Mapping(Path("hostname"), GuestPath.parse("/etc/hostname"))]


class ChangesTheTree(Good):
    caught_by: ClassVar = {"test_its_mappings"}

    @hookimpl
    def apply_mappings(self, tree: Any) -> Sequence[Mapping]:
        tree.root.mode |= 0o7000
        return []


class ChangesAnOwner(Good):
    caught_by: ClassVar = {"test_its_mappings"}

    @hookimpl
    def apply_mappings(self, tree: Any) -> Sequence[Mapping]:
        tree.root.entries[b"etc"].entries[b"motd"].uid = 1
        return []


class ChangesAFile(Good):
    caught_by: ClassVar = {"test_its_mappings"}

    @hookimpl
    def apply_mappings(self, tree: Any) -> Sequence[Mapping]:
        tree.root.entries[b"etc"].entries[b"motd"].content = Content.of(b"changed")
        return []


class TakesASectionOfCore(Good):
    caught_by: ClassVar = {"test_its_sections_of_the_manifest"}

    @hookimpl
    def emit_manifest(self) -> Sequence[ManifestSection]:
        return [ManifestSection("labels", {})]


class WritesWhatIsNoJson(Good):
    caught_by: ClassVar = {"test_its_sections_of_the_manifest"}

    @hookimpl
    def emit_manifest(self) -> Sequence[ManifestSection]:
        return [ManifestSection("own", {"path": (1, 2)})]


class NumbersBuilds(Good):
    caught_by: ClassVar = {"test_its_sections_of_the_manifest"}

    @hookimpl
    def emit_manifest(self) -> Sequence[ManifestSection]:
        return [ManifestSection("own", uuid4().hex)]
