"""fledge.toml and manifest.toml: read, checked with all problems at once, and made into a BuildPlan."""

from __future__ import annotations

from typing import Any

from fledge import drivers
from fledge.config.chosen import Catalog
from fledge.config.direct import plan_direct
from fledge.config.load import load, validate

__all__ = ["load", "plan_direct", "schema", "validate"]


def schema(name: str, catalog: Catalog = drivers) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `fledge`, `manifest-template` or `manifest`; see json_schema."""
    from fledge.config.json_schema import schema

    return schema(name, catalog)
