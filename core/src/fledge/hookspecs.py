"""The whole extension surface: the five hooks of a build, in the order they are called.

The drivers that the plan names implement the hooks they own; extensions (entry points in
`fledge.extensions`) join through the same hooks. `first result` hooks have exactly one implementation for a
plan; an extension may wrap it (`@hookimpl(wrapper=True)`). `collect` hooks take what everyone proposes, and
core merges it in a fixed order and refuses conflicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from fledge.artifact import Artifact, ManifestSection
    from fledge.output import ArtifactFile
    from fledge.plan import BuildPlan, Mapping
    from fledge.sources import Request, Source
    from fledge.tree.tree import Tree

PROJECT: Final = "fledge"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def fetch_source(plan: BuildPlan, request: Request) -> Source | None:
    """Fetches one source that the strategy asked for.

    Called once a request, several at once from different threads, before anything is assembled. First result:
    the driver that the request names answers, every other one returns None. Extensions may wrap it to cache, to
    verify or to go to a mirror.
    """


@hookspec(firstresult=True)
def assemble_tree(plan: BuildPlan, sources: Sequence[Source]) -> Tree | None:
    """Makes the tree out of the sources, which stand in the order in which the strategy asked for them.

    Called once. First result: the strategy answers. Extensions may wrap it to inspect the tree or to add nodes.
    """


@hookspec
def apply_mappings(plan: BuildPlan, tree: Tree) -> Sequence[Mapping]:
    """Proposes files and folders of the host to put into the tree.

    Called once, after assemble_tree. Collect: core gives the user's `[mappings]`; everyone's are put together,
    sorted by destination and applied by core. Two to one destination are an error that names both.
    The tree is for looking at.
    """
    return ()


@hookspec(firstresult=True)
def pack_artifact(plan: BuildPlan, tree: Tree, target: ArtifactFile) -> Artifact | None:
    """Writes the tree into the target, which becomes visible only when the whole build has succeeded.

    Called once. First result: the filesystem answers. Extensions may wrap it to append verity data or to sign.
    """


@hookspec
def emit_manifest(plan: BuildPlan, artifact: Artifact) -> Sequence[ManifestSection]:
    """Proposes top-level sections of manifest.json.

    Called once, when the artifact's bytes are final. Collect: core gives the sections that the schema names;
    extensions may add further ones. Two with one name are an error that names both.
    """
    return ()
