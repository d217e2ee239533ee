"""The keys of `[filesystem]` for squashfs."""

from __future__ import annotations

from typing import Final, Literal, Self

from fledge.options import OverlayOptions
from pydantic import Field, field_validator, model_validator

from fledge_fs_squashfs.compress import Gzip, Xz
from fledge_fs_squashfs.format import BLOCK_SIZE_MAX, BLOCK_SIZE_MIN
from fledge_fs_squashfs.zstd import Zstd

_COMPRESSORS: Final[dict[str, type[Zstd] | type[Xz] | type[Gzip]]] = {"zstd": Zstd, "xz": Xz, "gzip": Gzip}


class SquashfsOptions(OverlayOptions):
    """How the image is compressed, and how the guest makes it writable."""

    compression: Literal["zstd", "xz", "gzip"] = "zstd"
    """The compressor. The guest's kernel must have it: zstd since Linux 4.14."""

    compression_level: int | None = Field(default=None, json_schema_extra={"minimum": 0, "maximum": 22})
    """zstd: 1 to 22, default 15. xz: preset 0 to 9, default 6. gzip: 1 to 9, default 9."""

    block_size: int = 128 << 10
    """Bytes that are compressed as one block: a power of two from 4096 to 1048576."""

    @property
    def level(self) -> int:
        """The level to compress at."""
        default = _COMPRESSORS[self.compression].DEFAULT
        return default if self.compression_level is None else self.compression_level

    @model_validator(mode="after")
    def _level_exists(self) -> Self:
        levels = _COMPRESSORS[self.compression].LEVELS
        if self.level not in levels:
            raise ValueError(
                f"compression_level {self.level} is not one that {self.compression} has; "
                f"allowed are {levels[0]} to {levels[-1]}"
            )
        return self

    @field_validator("block_size")
    @classmethod
    def _block_size_exists(cls, value: int) -> int:
        if not BLOCK_SIZE_MIN <= value <= BLOCK_SIZE_MAX or value & (value - 1):
            raise ValueError(f"{value} is not a power of two from {BLOCK_SIZE_MIN} to {BLOCK_SIZE_MAX}")
        return value
