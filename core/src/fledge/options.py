"""The base of every options model: strict, frozen, and the same for core and plugins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

_MIB: Final = 1 << 20
_LEAST_FREE: Final = 64 * _MIB
_MOST_FREE: Final = 1024 * _MIB


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


class DiskOptions(Options):
    """The keys of `[filesystem]` for every filesystem that a guest can write to."""

    size_buffer_mb: int = Field(default=0, ge=0)
    """Free space for files, in MiB. 0: a quarter of the content, at least 64 MiB, at most 1 GiB."""
    preallocate: bool = False
    """Reserve the disk's blocks for the whole image, instead of leaving a sparse file."""

    def free_space(self, content: int) -> int:
        """Bytes that stay free for files (spec section 2); `content`: bytes that the tree takes."""
        if self.size_buffer_mb:
            return self.size_buffer_mb * _MIB
        return min(max(content // 4, _LEAST_FREE), _MOST_FREE)


class StrategyOptions(Options):
    """The top-level tables of fledge.toml that a strategy owns: `source`, `init`."""

    def default_name(self, base_dir: Path) -> str | None:
        """The image's name when manifest.toml gives none; None: the name of `base_dir`, fledge.toml's folder."""
        return None

    def without_agent(self) -> str | None:
        """Why no agent goes into the image, for the error that `[agent]` then is; None where one does."""
        return None


class Form:
    """The form of a string: `Annotated[str, Form(r"/.*", "an absolute path")]`.

    The whole string must match `pattern`, which is also the schema's: a regular expression that Python and
    ECMA 262 read alike. `expected` ends the error message "'x' is not ...".
    """

    def __init__(self, pattern: str, expected: str) -> None:
        self._pattern = pattern
        self._expected = expected

    def _check(self, value: str) -> str:
        if re.fullmatch(self._pattern, value) is None:
            raise ValueError(f"{value!r} is not {self._expected}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^(?:{self._pattern})$"}


class OverlayOptions(Options):
    """The keys of `[filesystem]` for every filesystem that a guest only reads: it lays a tmpfs over that."""

    overlay_size: Annotated[
        str, Form(r"[1-9][0-9]*[KMGT]|([1-9][0-9]?|100)%", "a size with K, M, G or T, such as 512M, nor 1% to 100%")
    ] = "1G"
    """Size of the guest's writable tmpfs over the image: `512M`, `1G`, or `50%` of its memory. The guest init reads it from
    /.fledge/workload; the filesystem itself does not hold it."""
