"""The keys of `[source]` that name an image, for every strategy that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from fledge.errors import UsageError
from fledge.image.reference import parse_reference
from fledge.names import name_of_image
from fledge.options import Options

DOCKERFILE_KEYS: Final = ("context", "target", "build_args")


class ImageSourceTable(Options):
    """An image, or a Dockerfile to build one from, or neither; a strategy that needs one says so itself."""

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
    def _is_at_most_one_thing(self) -> Self:
        if self.image is not None and self.dockerfile is not None:
            raise ValueError("image and dockerfile exclude each other; give one of them")
        given = [key for key in DOCKERFILE_KEYS if key in self.model_fields_set]
        if self.dockerfile is None and given:
            instead = ", not with image" if self.image is not None else ""
            raise ValueError(f"{', '.join(given)} {'goes' if len(given) == 1 else 'go'} with dockerfile{instead}")
        return self

    def default_name(self, base_dir: Path) -> str | None:
        """The image's, or that of the Dockerfile's folder."""
        if self.image is not None:
            return name_of_image(self.image)
        if self.dockerfile is not None:
            return (base_dir / self.dockerfile).resolve().parent.name or None
        return None

    def check_buildable(self) -> None:
        """Raises UsageError for a Dockerfile, which needs a builder."""
        if self.dockerfile is not None:
            raise UsageError(
                f"can't build {self.dockerfile}: no Dockerfile builder is installed",
                hint="build the image with another tool, save it, and give source.image = 'oci-archive:FILE'",
            )
