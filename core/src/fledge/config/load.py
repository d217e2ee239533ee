"""fledge.toml + manifest.toml + flags -> BuildPlan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fledge import drivers
from fledge.config import document
from fledge.config.check import check
from fledge.config.chosen import Catalog, choose
from fledge.config.fledge_toml import FledgeToml
from fledge.config.keys import Location
from fledge.config.mappings import parse as parse_mappings
from fledge.config.settings import Settings, settle
from fledge.errors import ConfigError, Problem
from fledge.plan import BuildPlan

CONFIG = Path("fledge.toml")
TEMPLATE = Path("manifest.toml")


def load(
    config: Path | None = None,
    manifest: Path | None = None,
    *,
    output: Path | None = None,
    artifact_url: str | None = None,
    platform: str | None = None,
    environ: Mapping[str, str] = os.environ,
    catalog: Catalog = drivers,
) -> BuildPlan:
    """The plan of a build.

    None means fledge.toml and manifest.toml in the current folder; the latter need not be there. Raises ConfigError
    with all problems of both files, the flags and the environment.
    """
    problems: list[Problem] = []
    settings = settle(output, artifact_url, platform, environ, problems)
    plan = _plan(config, manifest, catalog, settings, problems)
    if plan is None:
        raise ConfigError(problems)
    return plan


def validate(
    config: Path | None = None,
    manifest: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    catalog: Catalog = drivers,
) -> list[Problem]:
    """Everything that is wrong with both files; empty when `load` would give a plan."""
    problems: list[Problem] = []
    _plan(config, manifest, catalog, settle(None, None, None, environ, problems), problems)
    return problems


def read_template(path: Path | None, problems: list[Problem]) -> dict[str, Any]:
    """What manifest.toml says, in one form; None: the default one, if it is there. Adds to `problems`."""
    if path is None and not os.path.lexists(TEMPLATE):
        return {}
    from fledge.config.template import Template

    file = path or TEMPLATE
    data = document.read(file, problems, hint="leave --manifest out, and the image's config is what counts")
    template = check(Template, data, problems, file=str(file)) if data is not None else None
    return template.written() if template is not None else {}


def plan_document(
    data: Mapping[str, Any],
    template: Mapping[str, Any],
    settings: Settings,
    base_dir: Path,
    catalog: Catalog,
    problems: list[Problem],
    *,
    file: str,
) -> BuildPlan | None:
    """The plan that a document of fledge.toml's form asks for, or None after adding to `problems`."""
    choices = choose(data, catalog, problems, file=file)
    check(FledgeToml, data, problems, file=file)
    filesystem = data.get("filesystem")
    tables: dict[Location, object] = {("mappings",): data.get("mappings")}
    if isinstance(filesystem, dict):
        tables["filesystem", "mappings"] = filesystem.get("mappings")
    mappings = parse_mappings(tables, base_dir, problems, file=file)
    if choices is not None and "rootfs" in template and choices.artifact_kind != "rootfs":
        problems.append(Problem(file, "strategy", "makes an initramfs, but the manifest template has [rootfs]"))
    if problems or choices is None:
        return None
    return BuildPlan(
        base_dir=base_dir,
        strategy=choices.strategy,
        filesystem=choices.filesystem,
        agent=choices.agent,
        mappings=mappings,
        manifest=template,
        platform=settings.platform,
        artifact_kind=choices.artifact_kind,
        own_init=choices.options.without_agent() is not None,
        output=settings.output,
        artifact_url=settings.artifact_url,
        epoch=settings.epoch,
        name=template.get("name") or choices.options.default_name(base_dir) or base_dir.name or "image",
    )


def _plan(
    config: Path | None, manifest: Path | None, catalog: Catalog, settings: Settings, problems: list[Problem]
) -> BuildPlan | None:
    path = config or CONFIG
    data = document.read(path, problems, hint="name it with --config, or an image: fledge build docker://nginx:alpine")
    of_template: list[Problem] = []
    template = read_template(manifest, of_template)
    plan = None
    if data is not None:
        plan = plan_document(data, template, settings, path.absolute().parent, catalog, problems, file=str(path))
    problems.extend(of_template)
    return None if problems else plan
