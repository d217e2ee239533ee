"""The tables of fledge.toml that the strategy oci_rootfs owns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final

from fledge.errors import UsageError
from fledge.image.reference import parse_reference
from fledge.names import name_of_image
from fledge.options import Options, StrategyOptions
from pydantic import ConfigDict, Field, field_validator, model_validator

_DOCKERFILE_KEYS: Final = ("context", "target", "build_args")


class Source(Options):
    """What the root filesystem is made of: an image, or a Dockerfile to build one from."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["image"]}, {"required": ["dockerfile"]}],
            "dependentRequired": {key: ["dockerfile"] for key in _DOCKERFILE_KEYS},
        }
    )

    image: Annotated[str, Field(min_length=1)] | None = None
    """An image: `nginx:alpine`, `docker://ghcr.io/acme/web:1`, `oci:./layout:tag`, `oci-archive:FILE`,
    `docker-archive:FILE`, `docker-daemon:NAME`. Excludes `dockerfile`."""
    dockerfile: Annotated[str, Field(min_length=1)] | None = None
    """A Dockerfile to build the image from. Excludes `image`."""
    context: str | None = None
    """With `dockerfile`: the folder it may copy from. Default: the Dockerfile's own."""
    target: str | None = None
    """With `dockerfile`: the stage to stop at. Default, and when empty: the last one."""
    build_args: dict[str, str] = Field(default_factory=dict)
    """With `dockerfile`: values for its ARGs."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "busybox_url": "busybox_url belongs to the strategy 'initramfs'",
        "busybox_sha256": "busybox_sha256 belongs to the strategy 'initramfs'",
    }

    @field_validator("image")
    @classmethod
    def _is_a_reference(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_reference(value)
            except UsageError as error:
                raise ValueError(error.message) from None
        return value

    @model_validator(mode="after")
    def _is_one_thing(self) -> Source:
        if self.image is not None and self.dockerfile is not None:
            raise ValueError("image and dockerfile exclude each other; give one of them")
        if self.image is None and self.dockerfile is None:
            raise ValueError("has neither image nor dockerfile; give one of them")
        given = [key for key in _DOCKERFILE_KEYS if key in self.model_fields_set]
        if self.image is not None and given:
            raise ValueError(
                f"{', '.join(given)} {'goes' if len(given) == 1 else 'go'} with dockerfile, not with image"
            )
        return self


class OciRootfsOptions(StrategyOptions):
    """The strategy oci_rootfs."""

    source: Source

    elsewhere: ClassVar[Mapping[str, str]] = {"init": "[init] belongs to the strategy 'initramfs' (initramfs only)"}

    def default_name(self, base_dir: Path) -> str | None:
        """The image's, or that of the Dockerfile's folder."""
        if self.source.image is not None:
            return name_of_image(self.source.image)
        assert self.source.dockerfile is not None
        return (base_dir / self.source.dockerfile).resolve().parent.name or None

    def check_buildable(self) -> None:
        """Raises UsageError for a Dockerfile, which needs a builder."""
        if self.source.dockerfile is not None:
            raise UsageError(
                f"can't build {self.source.dockerfile}: no Dockerfile builder is installed",
                hint="build the image with another tool, save it, and give source.image = 'oci-archive:FILE'",
            )
