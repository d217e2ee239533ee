"""The base of every options model: strict, frozen, and the same for core and plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Keys that the model does not name are errors; the docstrings of fields become the reference and the schema.

    Values of fledge.toml are checked strictly: `"5"` is not an integer and 1 is not a boolean. A validator raises
    ValueError with a message that holds the value and what is allowed.
    """

    # Validators are built when a config first needs them: a run meets few of the models that it imports.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Keys that users try here although they belong elsewhere, each with the message that says so."""


class NoOptions(Options):
    """For drivers without any."""


class StrategyOptions(Options):
    """The top-level tables of fledge.toml that a strategy owns: `source`, `init`."""

    def default_name(self, base_dir: Path) -> str | None:
        """The image's name when manifest.toml gives none; None: the name of `base_dir`, fledge.toml's folder."""
        return None

    def without_agent(self) -> str | None:
        """Why no agent goes into the image, for the error that `[agent]` then is; None where one does."""
        return None

    def check_buildable(self) -> None:
        """Raises UsageError when the config is right and yet nothing that is installed can build it."""
