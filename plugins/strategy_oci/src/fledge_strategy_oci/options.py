"""The tables of fledge.toml that the strategy oci_rootfs owns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fledge.image.source_table import DOCKERFILE_KEYS, ImageSourceTable
from fledge.options import StrategyOptions
from pydantic import ConfigDict, model_validator


class Source(ImageSourceTable):
    """What the root filesystem is made of: an image, or a Dockerfile to build one from."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["image"]}, {"required": ["dockerfile"]}],
            "dependentRequired": {key: ["dockerfile"] for key in DOCKERFILE_KEYS},
        }
    )

    elsewhere: ClassVar[Mapping[str, str]] = {
        "busybox_url": "busybox_url belongs to the strategy 'initramfs'",
        "busybox_sha256": "busybox_sha256 belongs to the strategy 'initramfs'",
    }

    @model_validator(mode="after")
    def _is_one_thing(self) -> Source:
        if self.image is None and self.dockerfile is None:
            raise ValueError("has neither image nor dockerfile; give one of them")
        return self


class OciRootfsOptions(StrategyOptions):
    """The strategy oci_rootfs."""

    source: Source

    elsewhere: ClassVar[Mapping[str, str]] = {"init": "[init] belongs to the strategy 'initramfs' (initramfs only)"}

    def default_name(self, base_dir: Path) -> str | None:
        """The image's, or that of the Dockerfile's folder."""
        return self.source.default_name(base_dir)
