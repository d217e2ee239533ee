"""A build without fledge.toml: an image or a Dockerfile, and flags -> BuildPlan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fledge import drivers
from fledge.config.chosen import NO_AGENT, Catalog
from fledge.config.load import plan_document, read_template
from fledge.config.settings import settle
from fledge.errors import ConfigError, Problem
from fledge.names import file_stem
from fledge.plan import BuildPlan

if TYPE_CHECKING:
    from fledge.kinds import Filesystem

ROOTFS: Final = "oci_rootfs"
INITRAMFS: Final = "initramfs"

_FLAGS: Final = {
    "source.image": "IMAGE",
    "source.dockerfile": "--dockerfile",
    "source.context": "--context",
    "source.target": "--target",
    "source.build_args": "--build-arg",
    "source.builder": "--builder",
    "source.secrets": "--secret",
    "filesystem": "--filesystem",
    "agent": "--agent",
}
"""What a key of fledge.toml is on the command line."""


def plan_direct(
    source: Mapping[str, Any],
    *,
    initramfs: bool = False,
    manifest: Path | None = None,
    output: Path | None = None,
    artifact_url: str | None = None,
    platform: str | None = None,
    agent: str | None = None,
    filesystem: str | None = None,
    environ: Mapping[str, str] = os.environ,
    catalog: Catalog = drivers,
) -> BuildPlan:
    """The plan of `fledge build IMAGE` and of `fledge build DOCKERFILE`, with an artifact `<name>.img` in this folder.

    `source`: the keys of `[source]`; `initramfs`: make one of those instead. A manifest.toml counts only where it is named: one that lies here belongs to a fledge.toml. Raises ConfigError
    with all problems.
    """
    problems: list[Problem] = []
    base_dir = Path.cwd()
    strategy = INITRAMFS if initramfs else ROOTFS
    document: dict[str, Any] = {"version": "1", "strategy": strategy, "source": dict(source)}
    if filesystem is not None:
        document["filesystem"] = {"type": filesystem}
    if agent is not None:
        document["agent"] = _agent(agent, problems)
    template = read_template(manifest, problems) if manifest is not None else {}
    settings = settle(output, artifact_url, platform, environ, problems)
    found: list[Problem] = []
    plan = plan_document(document, template, settings, base_dir, catalog, found, file="")
    problems.extend(_on_command_line(problem) for problem in found)
    if problems or plan is None:
        raise ConfigError(problems)
    if plan.output is None:
        filesystem_driver = cast("type[Filesystem]", catalog.load("filesystem", plan.filesystem.name))
        suffix = filesystem_driver.artifact_suffix(plan.filesystem.options)
        plan = replace(plan, output=base_dir / f"{file_stem(plan.name)}{suffix}")
    return plan


def _agent(text: str, problems: list[Problem]) -> dict[str, str]:
    """`none|release[:VERSION]|local:PATH|URL` as the table `[agent]`."""
    kind, _, rest = text.partition(":")
    if text in (NO_AGENT, "release"):
        return {"source_strategy": text}
    if kind == "release" and rest:
        return {"source_strategy": "release", "version": rest}
    if kind == "local" and rest:
        return {"source_strategy": "local", "path": rest}
    if kind in ("http", "https") and rest.startswith("//"):
        return {"source_strategy": "http", "url": text}
    problems.append(
        Problem("--agent", "", f"{text!r} is not an agent; allowed: none, release, release:VERSION, local:PATH, a URL")
    )
    return {"source_strategy": NO_AGENT}


def _on_command_line(problem: Problem) -> Problem:
    for key, flag in _FLAGS.items():
        if problem.key == key or problem.key.startswith(f"{key}."):
            return replace(problem, file=flag, key="")
    return problem
