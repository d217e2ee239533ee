"""The build, top to bottom: fetch, assemble, map, pack, describe, show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fledge import manifest, mappings
from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.inspection import HEAD
from fledge.output import Outputs
from fledge.plugins import Plugins, mappings_of
from fledge.runtime import settle_runtime
from fledge.sources import ImageRequest

if TYPE_CHECKING:
    from fledge.artifact import Artifact
    from fledge.context import BuildContext
    from fledge.plan import BuildPlan
    from fledge.sources import Request, Source

_QUICK: Final = 0.2
"""Seconds that a fetch takes at most when the store has everything."""


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
    requests = plugins.strategy.requests(plan)
    plugins.add_sources(plan, requests)
    path = (plan.output or Path.cwd() / plugins.strategy.artifact_name(plan)).absolute()
    with Outputs() as outputs, context.store.in_use():
        target = outputs.artifact(path)
        sources = _fetch(plugins, plan, context, requests)
        tree = plugins.hook.assemble_tree(plan=plan, sources=sources)
        # A workload that can't be started is told before an image is compressed for it.
        settle_runtime(plan.manifest, tree.image, own_init=plan.own_init)
        mappings.apply(mappings_of(plugins, plan, tree), tree)
        plugins.strategy.check_tree(plan, tree)
        artifact: Artifact = plugins.hook.pack_artifact(plan=plan, tree=tree, target=target)
        # While the artifact is still being hashed and brought to disk.
        manifest.validator()
        proposals = plugins.collect("emit_manifest", plan=plan, artifact=artifact)
        document = manifest.merge_sections(proposals)
        _check_kernels(plugins, artifact, document, context)
        manifest_path = path.parent / manifest.file_name(plan, path)
        outputs.manifest(manifest_path, manifest.render(document))
        outputs.commit()
    return BuildResult(artifact, manifest_path, document)


def _check_kernels(plugins: Plugins, artifact: Artifact, document: dict[str, Any], context: BuildContext) -> None:
    """Warns where a kernel that the environment names can't boot the artifact."""
    if context.environ.get("FLEDGE_KERNEL_BZIMAGE") or context.environ.get("FLEDGE_KERNEL_VMLINUX"):
        from fledge.boot.forecast import forecast

        head = os.pread(artifact.file.fileno(), HEAD, 0)
        network = bool(document.get("network", {}).get("expose"))
        warn = context.progress.warning
        forecast(plugins.filesystem, head, network=network, environ=context.environ, warn=warn)


def _fetch(plugins: Plugins, plan: BuildPlan, context: BuildContext, requests: Sequence[Request]) -> list[Source]:
    """All sources side by side, in the order of the requests; the first failure ends the build."""

    def fetch(request: Request) -> Source:
        source: Source | None
        try:
            source = plugins.hook.fetch_source(plan=plan, request=request)
        except ImageNotFoundError as error:
            if not isinstance(request, ImageRequest) or not request.others:
                raise
            there, *others = request.others
            context.progress.info(f"{error.message}; looking at {there}")
            return fetch(replace(request, reference=there, others=tuple(others)))
        if source is None:
            raise BuildError(f"no plugin answered the request for {request}")
        return source

    with ThreadPoolExecutor(max(1, len(requests)), thread_name_prefix="fledge-fetch") as pool:
        futures = [pool.submit(fetch, request) for request in requests]
        if wait(futures, timeout=_QUICK).not_done:
            # The threads wait for the network or are in C: what is to be imported later can be imported now.
            plugins.filesystem.import_ahead()
            manifest.validator()
        return [future.result() for future in futures]
