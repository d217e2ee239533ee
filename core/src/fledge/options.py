"""The base of every options model: strict, frozen, and the same for core and plugins."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Keys that the model does not name are errors; the docstrings of fields become the reference and the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NoOptions(Options):
    """For drivers without any."""
