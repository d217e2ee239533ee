"""manifest.json: manifest.toml, the image's config and the artifact, put together and checked against the schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fledge.artifact import ManifestSection
from fledge.errors import BuildError
from fledge.names import file_stem
from fledge.runtime import settle_runtime

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

    from fledge.artifact import Artifact
    from fledge.plan import BuildPlan

SCHEMA_URL: Final = "https://raw.githubusercontent.com/volantvm/volant/main/docs/schemas/plugin-manifest-v1.json"
"""What `$schema` says: the consumer's own schema, as in every sample manifest."""

SCHEMA_VERSION: Final = "v1"
"""Volant's reference asks for `v1`; its older samples have `1.0`, which means the same."""

DEFAULT_VERSION: Final = "0.1.0"
"""The version of an image without manifest.toml, as in the sample manifests."""

DEFAULT_RESOURCES: Final = {"cpu_cores": 2, "memory_mb": 2048}


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of manifest.json."""
    loaded: dict[str, Any] = json.loads((files("fledge") / "schemas" / "manifest.json").read_bytes())
    return loaded


def core_sections(plan: BuildPlan, artifact: Artifact, *, warn: Callable[[str], None]) -> list[ManifestSection]:
    """Every section that the schema names, in the order in which it is written.

    Raises UsageError when the workload can't be started as manifest.toml wants it; what the manifest can't hold is
    told to `warn`.
    """
    template = plan.manifest
    runtime = settle_runtime(template, artifact.tree.image, own_init=plan.own_init)
    for warning in runtime.warnings:
        warn(warning)
    sections: dict[str, Any] = {
        "$schema": SCHEMA_URL,
        "schema_version": SCHEMA_VERSION,
        "name": plan.name,
        "version": template.get("version", DEFAULT_VERSION),
        "runtime": template.get("runtime", plan.name),
        "enabled": template.get("enabled", True),
        plan.artifact_kind: _medium(plan, artifact),
        "resources": DEFAULT_RESOURCES | template.get("resources", {}),
        "workload": runtime.workload,
        "health_check": runtime.health_check,
        "network": runtime.network,
    }
    sections |= {key: template.get(key) for key in ("actions", "cloud_init", "devices", "labels", "disks", "openapi")}
    return [ManifestSection(name, value) for name, value in sections.items() if value is not None]


def _medium(plan: BuildPlan, artifact: Artifact) -> dict[str, Any]:
    return {
        "url": plan.artifact_url or artifact.path.absolute().as_uri(),
        "checksum": str(artifact.digest),
        "format": plan.manifest.get(plan.artifact_kind, {}).get("format", artifact.format),
    }


def merge_sections(proposals: Iterable[tuple[str, ManifestSection]]) -> dict[str, Any]:
    """The sections as one document, in the order in which they are proposed, each with who proposes it.

    Raises BuildError when two propose the same.
    """
    document: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for owner, section in proposals:
        if section.name in document:
            raise BuildError(f"both {owners[section.name]} and {owner} give the manifest's section {section.name!r}")
        owners[section.name] = owner
        document[section.name] = section.value
    return document


def render(document: dict[str, Any]) -> bytes:
    """The document as it is written: UTF-8, two spaces, keys in their order.

    Raises BuildError, with the path of every violation, when it is not what the schema allows.
    """
    violations = violations_of(document)
    if violations:
        raise BuildError(f"the manifest does not match its schema: {'; '.join(violations)}")
    try:
        return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:  # A plugin's section; lone surrogates of an image's config
        raise BuildError(f"the manifest can't be written as JSON: {error}") from error


def violations_of(document: object) -> list[str]:
    """What the schema finds wrong with a manifest, each with its path; empty when it is right."""
    errors = sorted(validator().iter_errors(document), key=lambda error: error.json_path)
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


@cache
def validator() -> Draft202012Validator:
    """Who checks documents. The first call imports jsonschema, which takes as long as a small image's tree."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


def file_name(plan: BuildPlan, artifact: Path) -> str:
    """The manifest's, in the artifact's folder.

    `<name>.manifest.json`; with `--output` (and for direct builds) it follows the artifact's name, so that two
    artifacts of one image in one folder each have their own.
    """
    if plan.output is None:
        return f"{file_stem(plan.name)}.manifest.json"
    uncompressed = artifact.name.removesuffix(".gz").removesuffix(".zst")
    return f"{uncompressed.rpartition('.')[0] or uncompressed}.manifest.json"
