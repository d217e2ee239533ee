"""fledge.toml and manifest.toml: read, checked with all problems at once, and made into a BuildPlan."""

from fledge.config.direct import plan_direct
from fledge.config.load import load, validate
from fledge.config.schema import schema

__all__ = ["load", "plan_direct", "schema", "validate"]
