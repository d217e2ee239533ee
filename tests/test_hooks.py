"""The hooks of real builds: the order of calls, what extensions may do, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pluggy
import pytest
from fledge import config, pipeline
from fledge.artifact import Artifact, ManifestSection
from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.output import ArtifactFile
from fledge.pipeline import BuildResult
from fledge.plan import BuildPlan, Mapping
from fledge.sources import AgentRequest, FileSource, Request, Source
from fledge.testing.builds import context
from fledge.testing.oracles import mounted, need_root
from fledge.testing.project import PROGRAM, Project, site_packages
from fledge.tree.content import Content
from fledge.tree.inode import File
from fledge.tree.tree import Tree
from fledge.values import GuestPath


def build(project: Project, *extensions: tuple[str, object], filesystem: str = "squashfs") -> BuildResult:
    (project.folder / "agent").write_bytes(PROGRAM)
    (project.folder / "extra").write_text("extra")
    project.config(
        filesystem, agent='source_strategy = "local"\npath = "agent"', more='[mappings]\n"extra" = "/srv/extra"\n'
    )
    plan = config.load(project.folder / "fledge.toml", output=project.folder / "out.img", environ={})
    return pipeline.build(plan, context(project.cache), extensions)


def refused(project: Project, *extensions: tuple[str, object]) -> str:
    with pytest.raises(BuildError) as caught:
        build(project, *extensions)
    assert not (project.folder / "out.img").exists()
    assert not (project.folder / "out.manifest.json").exists()
    assert project.leftovers() == []
    return f"{caught.value.message} | {caught.value.hint}"


class Everything:
    """Takes part in every hook, and tells when."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.told = told

    def tell(self, text: str) -> None:
        self.told.append(f"{self.name} {text}")

    @hookimpl(wrapper=True)
    def fetch_source(self, request: Request) -> Generator[None, Source, Source]:
        if isinstance(request, AgentRequest):  # The image is fetched at the same time, in another thread.
            self.tell("before fetch_source")
        source = yield
        if isinstance(request, AgentRequest):
            self.tell("after fetch_source")
        return source

    @hookimpl(wrapper=True)
    def assemble_tree(self) -> Generator[None, Tree, Tree]:
        self.tell("before assemble_tree")
        tree = yield
        self.tell("after assemble_tree")
        return tree

    @hookimpl
    def apply_mappings(self) -> Sequence[Mapping]:
        self.tell("apply_mappings")
        return ()

    @hookimpl(wrapper=True)
    def pack_artifact(self) -> Generator[None, Artifact, Artifact]:
        self.tell("before pack_artifact")
        artifact = yield
        self.tell("after pack_artifact")
        return artifact

    @hookimpl
    def emit_manifest(self) -> Sequence[ManifestSection]:
        self.tell("emit_manifest")
        return ()


def test_the_order_of_every_hook_call_of_a_build(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Monitored(pluggy.PluginManager):
        def __init__(self, name: str) -> None:
            super().__init__(name)

            def before(hook: str, impls: Sequence[pluggy.HookImpl], arguments: Any) -> None:
                # pluggy calls the last of its list first.
                names = ", ".join(impl.plugin_name for impl in reversed(impls))
                what = type(arguments["request"]).__name__ if "request" in arguments else ""
                calls.append(f"{hook}({what}): {names}")

            self.add_hookcall_monitoring(before, lambda *_: None)

    monkeypatch.setattr(pluggy, "PluginManager", Monitored)
    told: list[str] = []
    build(project, ("aaa", Everything("aaa", told)), ("zzz", Everything("zzz", told)))

    # The two fetches run side by side.
    assert sorted(calls[:2]) + calls[2:] == [
        "fetch_source(AgentRequest): extension zzz, extension aaa, agent local, transport oci",
        "fetch_source(ImageRequest): extension zzz, extension aaa, agent local, transport oci",
        "assemble_tree(): extension zzz, extension aaa, strategy oci_rootfs",
        "apply_mappings(): core",
        "apply_mappings(): extension aaa",
        "apply_mappings(): extension zzz",
        "pack_artifact(): extension zzz, extension aaa, filesystem squashfs",
        "emit_manifest(): core",
        "emit_manifest(): extension aaa",
        "emit_manifest(): extension zzz",
    ]
    assert told == [
        *("zzz before fetch_source", "aaa before fetch_source", "aaa after fetch_source", "zzz after fetch_source"),
        *("zzz before assemble_tree", "aaa before assemble_tree", "aaa after assemble_tree", "zzz after assemble_tree"),
        *("aaa apply_mappings", "zzz apply_mappings"),
        *("zzz before pack_artifact", "aaa before pack_artifact", "aaa after pack_artifact", "zzz after pack_artifact"),
        *("aaa emit_manifest", "zzz emit_manifest"),
    ]


# What extensions may do


class OtherAgent:
    @hookimpl(wrapper=True)
    def fetch_source(self, request: Request) -> Generator[None, Source, Source]:
        source = yield
        if isinstance(source, FileSource):
            return FileSource(Content.of(PROGRAM + b"another"), source.digest, "a mirror")
        return source


def test_an_extension_replaces_a_source(project: Project) -> None:
    artifact = build(project, ("mirror", OtherAgent)).artifact
    assert project.cat(artifact.path, "/bin/kestrel") == PROGRAM + b"another"


class Note:
    @hookimpl(wrapper=True)
    def assemble_tree(self) -> Generator[None, Tree, Tree]:
        tree = yield
        tree.insert(GuestPath.parse("/etc/note"), File(Content.of(b"noted"), 0o600, mtime=tree.epoch))
        return tree


@pytest.mark.parametrize("filesystem", ["squashfs", "ext4"])
def test_an_extension_adds_a_node(project: Project, filesystem: str) -> None:
    artifact = build(project, ("note", Note()), filesystem=filesystem).artifact
    assert project.cat(artifact.path, "/etc/note") == b"noted"
    assert project.inside(artifact.path)["/etc/note"]["mode"] == "0600"


TRAILER = b"verity" * 1000


class Trailer:
    """Appends bytes after the filesystem, as verity data are."""

    @hookimpl(wrapper=True)
    def pack_artifact(self, target: ArtifactFile) -> Generator[None, Artifact, Artifact]:
        artifact = yield
        first = target.digest
        end = target.size
        target.write(end, TRAILER)
        target.finish(end + len(TRAILER))
        assert target.digest != first
        return artifact


@pytest.mark.parametrize("filesystem", ["squashfs", "ext4"])
def test_case_095_the_checksum_is_of_the_bytes_after_every_extension(project: Project, filesystem: str) -> None:
    plain = build(project, filesystem=filesystem)
    before = plain.artifact.path.read_bytes()
    result = build(project, ("trailer", Trailer), filesystem=filesystem)
    data = result.artifact.path.read_bytes()
    assert data == before + TRAILER
    assert result.artifact.size == len(data)
    for document in (result.manifest, json.loads(result.manifest_path.read_bytes())):
        assert document["rootfs"]["checksum"] == "sha256:" + hashlib.sha256(data).hexdigest()


def test_the_kernel_does_not_mind_appended_bytes(project: Project) -> None:
    need_root()
    artifact = build(project, ("trailer", Trailer)).artifact
    with mounted(artifact.path, "squashfs") as folder:
        assert (folder / "etc" / "motd").read_bytes() == b"welcome\n"


class Patch:
    """Changes bytes in the middle and does not finish again: the size is as it was."""

    @hookimpl(wrapper=True)
    def pack_artifact(self, target: ArtifactFile) -> Generator[None, Artifact, Artifact]:
        artifact = yield
        assert target.digest
        target.write(target.size - 100, b"patched")
        return artifact


def test_case_095_bytes_patched_in_place_count(project: Project) -> None:
    result = build(project, ("patch", Patch))
    data = result.artifact.path.read_bytes()
    assert b"patched" in data
    assert result.manifest["rootfs"]["checksum"] == "sha256:" + hashlib.sha256(data).hexdigest()


class Section:
    def __init__(self, name: str, value: object) -> None:
        self.section = ManifestSection(name, value)

    @hookimpl
    def emit_manifest(self, plan: BuildPlan, artifact: Artifact) -> Sequence[ManifestSection]:
        assert artifact.digest.hex
        assert plan.name == "image"
        return [self.section]


def test_extensions_add_sections_in_order_of_their_names(project: Project) -> None:
    result = build(project, ("b", Section("sbom", [1])), ("a", Section("signature", {"x": None})))
    assert list(project.manifest("out.manifest.json"))[-2:] == ["signature", "sbom"]
    assert result.manifest["sbom"] == [1]


class Maps:
    def __init__(self, source: Path, destination: str) -> None:
        self.mapping = Mapping(source, GuestPath.parse(destination))

    @hookimpl
    def apply_mappings(self, tree: Tree) -> Sequence[Mapping]:
        assert tree.get(GuestPath.parse("/usr/bin/app")) is not None
        return (self.mapping,)


def test_an_extension_adds_a_mapping(project: Project) -> None:
    artifact = build(project, ("policy", Maps(project.folder / "extra", "/bin/policy"))).artifact
    assert project.inside(artifact.path)["/usr/bin/policy"]["mode"] == "0755"


# What is refused


class OwnsTree:
    @hookimpl
    def assemble_tree(self) -> Tree | None:
        return None


class OwnsFetch:
    @hookimpl(tryfirst=True)
    def fetch_source(self) -> Source | None:
        return None


class OwnsPack:
    @hookimpl
    def pack_artifact(self) -> Artifact | None:
        return None


@pytest.mark.parametrize(
    ("extension", "hook"), [(OwnsTree, "assemble_tree"), (OwnsFetch, "fetch_source"), (OwnsPack, "pack_artifact")]
)
def test_an_extension_may_not_own_a_hook_of_one_driver(project: Project, extension: type, hook: str) -> None:
    said = refused(project, ("greedy", extension))
    assert "extension greedy" in said
    assert hook in said
    assert "wrapper=True" in said


class WrapsMappings:
    @hookimpl(wrapper=True)
    def apply_mappings(self) -> Generator[None, Any, Any]:
        return (yield)


class WrapsManifest:
    @hookimpl(hookwrapper=True)
    def emit_manifest(self) -> Generator[None, Any, None]:
        yield


@pytest.mark.parametrize(("extension", "hook"), [(WrapsMappings, "apply_mappings"), (WrapsManifest, "emit_manifest")])
def test_an_extension_may_not_wrap_a_collecting_hook(project: Project, extension: type, hook: str) -> None:
    said = refused(project, ("nosy", extension))
    assert "extension nosy" in said
    assert hook in said


class Misspelt:
    @hookimpl
    def emit_manifests(self) -> Sequence[ManifestSection]:
        return ()


class WrongArgument:
    @hookimpl
    def emit_manifest(self, artefact: Artifact) -> Sequence[ManifestSection]:
        return ()


@pytest.mark.parametrize(("extension", "part"), [(Misspelt, "emit_manifests"), (WrongArgument, "artefact")])
def test_a_misspelt_hook_or_argument_is_refused(project: Project, extension: type, part: str) -> None:
    said = refused(project, ("typo", extension))
    assert "extension typo" in said
    assert part in said


def test_two_sections_of_one_name_name_both(project: Project) -> None:
    said = refused(project, ("one", Section("sbom", 1)), ("two", Section("sbom", 1)))
    assert "extension one" in said
    assert "extension two" in said
    assert "'sbom'" in said


def test_a_section_of_core_can_not_be_replaced(project: Project) -> None:
    said = refused(project, ("one", Section("rootfs", {})))
    assert "core" in said
    assert "extension one" in said


def test_a_section_that_is_not_json_is_refused(project: Project) -> None:
    assert "JSON" in refused(project, ("one", Section("sbom", float("nan"))))


def test_case_070_two_mappings_to_one_place_name_both(project: Project) -> None:
    (project.folder / "mine").write_text("mine")
    mine = Maps(project.folder / "mine", "/srv/extra")
    said = refused(project, ("policy", mine))
    assert f"{project.folder}/extra" in said
    assert f"{project.folder}/mine (from extension policy)" in said
    assert "/srv/extra" in said
    said = refused(
        project,
        ("a", Maps(project.folder / "mine", "/x")),
        ("b", Maps(project.folder / "mine", "/x")),
    )
    assert "extension a" in said
    assert "extension b" in said


def test_an_extension_that_fails_leaves_nothing(project: Project) -> None:
    class Refuses:
        @hookimpl
        def emit_manifest(self) -> Sequence[ManifestSection]:
            raise BuildError("the policy forbids setuid files")

    assert "forbids" in refused(project, ("policy", Refuses()))

    class Bug:
        @hookimpl(wrapper=True)
        def pack_artifact(self) -> Generator[None, Artifact, Artifact]:
            yield
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(project, ("bug", Bug()))
    assert not (project.folder / "out.img").exists()
    assert project.leftovers() == []


# Through entry points


UNDECORATED = """
from fledge_fs_squashfs.driver import Squashfs

class Filesystem(Squashfs):
    def pack_artifact(self, plan, tree, target):
        return super().pack_artifact(plan, tree, target)
"""


def install(project: Project, distribution: str, code: str, group: str, name: str, value: str) -> None:
    site = project.folder / "site"
    module = value.partition(":")[0]
    site_packages(site, distribution, {group: {name: value}})
    (site / f"{module}.py").write_text(code)
    project.environ["PYTHONPATH"] = str(site)


def test_a_driver_without_hookimpl_is_refused(project: Project) -> None:
    install(project, "acme-fs-mine", UNDECORATED, "fledge.filesystems", "mine", "acme_mine:Filesystem")
    project.config("mine")
    said = project.run("build", code=1).stderr
    assert "the filesystem mine does not implement pack_artifact" in said
    assert "@hookimpl" in said
    assert not (project.folder / "image-rootfs.img").exists()


SBOM = """
from fledge.artifact import ManifestSection
from fledge.hookspecs import hookimpl

class Sbom:
    @hookimpl
    def emit_manifest(self, artifact):
        return [ManifestSection("sbom", sorted(name.decode() for name in artifact.tree.root.entries))]
"""


def test_an_installed_extension_joins_every_build(project: Project) -> None:
    install(project, "acme-sbom", SBOM, "fledge.extensions", "sbom", "acme_sbom:Sbom")
    project.config()
    project.build()
    assert project.manifest()["sbom"] == [".fledge", "bin", "etc", "usr", "var"]
    assert "acme-sbom" in project.run("plugins").stdout


def test_a_broken_extension_ends_every_build_with_its_name(project: Project) -> None:
    install(project, "acme-sbom", "import acme_nowhere\n", "fledge.extensions", "sbom", "acme_sbom:Sbom")
    project.config()
    said = project.run("build", code=1).stderr
    assert "extension 'sbom' (acme_sbom:Sbom)" in said
    assert "acme_nowhere" in said
    project.run("validate")


def test_two_distributions_with_one_driver_are_refused(project: Project) -> None:
    install(project, "acme-squash", UNDECORATED, "fledge.filesystems", "squashfs", "acme_squash:Filesystem")
    project.config()
    said = project.run("build", code=2).stderr
    assert "two installed distributions" in said
    assert "squashfs" in said
