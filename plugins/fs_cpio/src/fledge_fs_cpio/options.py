"""The keys of `[filesystem]` for cpio."""

from __future__ import annotations

from typing import Final, Literal, Self

from fledge.options import Options
from pydantic import Field, model_validator

Compression = Literal["gzip", "zstd", "none"]

_LEVELS: Final[dict[str, range]] = {"gzip": range(1, 10), "zstd": range(1, 23), "none": range(0)}
_DEFAULTS: Final[dict[str, int]] = {"gzip": 7, "zstd": 9, "none": 0}


class CpioOptions(Options):
    """How the archive is compressed, and what becomes of what it can't hold."""

    compression: Compression = "gzip"
    """The compressor. The guest's kernel must have it (CONFIG_RD_GZIP; CONFIG_RD_ZSTD, since Linux 5.9)."""

    compression_level: int | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": 22})
    """gzip: 1 to 9, default 7. zstd: 1 to 22, default 9."""

    xattrs: Literal["error", "drop"] = "error"
    """Extended attributes, such as file capabilities, which cpio can't hold: `error`, or `drop` them with a warning."""

    @property
    def level(self) -> int:
        """The level to compress at."""
        return _DEFAULTS[self.compression] if self.compression_level is None else self.compression_level

    @property
    def suffix(self) -> str:
        """Of the artifact's name."""
        return {"gzip": ".cpio.gz", "zstd": ".cpio.zst", "none": ".cpio"}[self.compression]

    @model_validator(mode="after")
    def _level_exists(self) -> Self:
        levels = _LEVELS[self.compression]
        if self.compression_level is not None and self.compression_level not in levels:
            allowed = f"allowed are {levels[0]} to {levels[-1]}" if levels else "remove it"
            raise ValueError(
                f"compression_level {self.compression_level} is not one that {self.compression} has; {allowed}"
            )
        return self
