"""The build, top to bottom: fetch, assemble, map, pack, describe, show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fledge import manifest, mappings
from fledge.fetching import Fetcher
from fledge.inspection import HEAD
from fledge.output import Outputs
from fledge.plugins import Plugins, mappings_of
from fledge.runtime import settle_runtime

if TYPE_CHECKING:
    from fledge.artifact import Artifact
    from fledge.context import BuildContext
    from fledge.kinds import Filesystem
    from fledge.plan import BuildPlan
    from fledge.sources import Request
    from fledge.tree.tree import Tree


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build left on disk."""

    artifact: Artifact
    manifest_path: Path
    manifest: dict[str, Any]


def build(plan: BuildPlan, context: BuildContext, extensions: Sequence[tuple[str, object]] = ()) -> BuildResult:
    """Runs the five hooks and shows the output, which is complete or absent.

    Raises BuildError or UsageError; then the old output stands as it did and nothing new is left behind.
    """
    plugins = Plugins(plan, context, extensions)
    fetcher = Fetcher(plugins, plan, context)
    requests = fetcher.settle(plugins.strategy.requests(plan))
    path = (plan.output or Path.cwd() / plugins.strategy.artifact_name(plan)).absolute()
    with Outputs() as outputs, context.store.in_use():
        outputs.prepare(path)
        tree = _merge(plugins, plan, fetcher, requests)
        artifact: Artifact = plugins.hook.pack_artifact(plan=plan, tree=tree, target=outputs.artifact(path))
        # While the artifact is still being hashed and brought to disk.
        manifest.validator()
        proposals = plugins.collect("emit_manifest", plan=plan, artifact=artifact)
        document = manifest.merge_sections(proposals)
        _check_kernels(plugins, artifact, document, context)
        manifest_path = path.parent / manifest.file_name(plan, path)
        outputs.manifest(manifest_path, manifest.render(document))
        outputs.commit()
    return BuildResult(artifact, manifest_path, document)


def merged_tree(
    plan: BuildPlan, context: BuildContext, extensions: Sequence[tuple[str, object]] = ()
) -> tuple[Filesystem, Tree]:
    """The tree that `build` would pack, and the driver that would: all but the packing. Raises as `build`."""
    plugins = Plugins(plan, context, extensions)
    fetcher = Fetcher(plugins, plan, context)
    requests = fetcher.settle(plugins.strategy.requests(plan))
    with context.store.in_use():
        return plugins.filesystem, _merge(plugins, plan, fetcher, requests)


def _merge(plugins: Plugins, plan: BuildPlan, fetcher: Fetcher, requests: Sequence[Request]) -> Tree:
    """Fetch, assemble, map."""
    sources = fetcher.fetch_all(requests)
    tree: Tree = plugins.hook.assemble_tree(plan=plan, sources=sources)
    # A workload that can't be started is told before an image is compressed for it.
    settle_runtime(plan.manifest, tree.image, own_init=plan.own_init)
    mappings.apply(mappings_of(plugins, plan, tree), tree)
    plugins.strategy.check_tree(plan, tree)
    return tree


def _check_kernels(plugins: Plugins, artifact: Artifact, document: dict[str, Any], context: BuildContext) -> None:
    """Warns where a kernel that the environment names can't boot the artifact."""
    if context.environ.get("FLEDGE_KERNEL_BZIMAGE") or context.environ.get("FLEDGE_KERNEL_VMLINUX"):
        from fledge.boot.forecast import forecast

        head = os.pread(artifact.file.fileno(), HEAD, 0)
        network = bool(document.get("network", {}).get("expose"))
        warn = context.progress.warning
        forecast(plugins.filesystem, head, network=network, environ=context.environ, warn=warn)
