"""The keys of `[source]` that name an image, for every strategy that takes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, field_validator, model_validator
from pydantic.config import JsonDict

from fledge import drivers
from fledge.errors import UsageError
from fledge.image.reference import candidates, parse_reference
from fledge.names import name_of_image
from fledge.options import Form, Options
from fledge.sources import DockerfileRequest, ImageRequest

if TYPE_CHECKING:
    from fledge.plan import BuildPlan

DOCKERFILE_KEYS: Final = ("context", "target", "build_args", "builder", "secrets", "no_cache")

# Builders hand both on as `id=ID,src=PATH` and `KEY=VALUE`.
SecretId = Annotated[str, Form(r"[A-Za-z0-9_.-]+", "an id of letters, digits, _, . and -")]
ArgName = Annotated[str, Form(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an ARG")]
# Most builders are programs, whose arguments can't hold NUL (execve(2)).
WithoutNul = Annotated[str, Form(r"[^\x00]*", "without NUL bytes")]

_CLOSED: Final[JsonDict] = {"additionalProperties": False}
"""pydantic writes the form of keys as patternProperties, which lets every other key through."""


class ImageSourceTable(Options):
    """An image, or a Dockerfile to build one from, or neither; a strategy that needs one says so itself."""

    image: Annotated[str, Field(min_length=1)] | None = None
    """An image: `nginx:alpine`, `docker://ghcr.io/acme/web:1`, `oci:./layout:tag`, `oci-archive:FILE`,
    `docker-archive:FILE`, `docker-daemon:NAME`. Excludes `dockerfile`."""
    dockerfile: Annotated[str, Field(min_length=1)] | None = None
    """A Dockerfile to build the image from. Excludes `image`."""
    context: str | None = None
    """With `dockerfile`: the folder it may copy from. Default: the Dockerfile's own."""
    target: WithoutNul | None = None
    """With `dockerfile`: the stage to stop at. Default, and when empty: the last one."""
    build_args: dict[ArgName, WithoutNul] = Field(default_factory=dict, json_schema_extra=_CLOSED)
    """With `dockerfile`: values for its ARGs."""
    builder: Annotated[str, Field(min_length=1)] | None = None
    """With `dockerfile`: who builds it: `microvm`, `docker`, `buildah`, `buildkit`. Default: what FLEDGE_BUILDKIT_MODE
    says, else the first that works here."""
    secrets: dict[SecretId, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict, json_schema_extra=_CLOSED
    )
    """With `dockerfile`: files that its steps may see (`RUN --mount=type=secret,id=ID`) and that never go into the
    image: `ID = "file"`."""
    no_cache: bool = False
    """With `dockerfile`: do every step anew."""

    @field_validator("image")
    @classmethod
    def _is_a_reference(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_reference(value)
            except UsageError as error:
                raise ValueError(error.message) from None
        return value

    @field_validator("builder")
    @classmethod
    def _is_installed(cls, value: str | None) -> str | None:
        if value is not None and value not in drivers.names("builder"):
            error = drivers.unknown("builder", value)
            raise ValueError(f"{error.message} ({error.hint})")
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
            return _normal(base_dir / self.dockerfile).parent.name or None
        return None

    def request(self, plan: BuildPlan, environ: Mapping[str, str]) -> ImageRequest | DockerfileRequest | None:
        """What to fetch for it; None when it names neither. Raises UsageError for what is not there."""
        base_dir = str(plan.base_dir)
        if self.image is not None:
            first, *others = candidates(self.image, environ, drivers.names("transport"))
            return ImageRequest(first, plan.platform, base_dir, tuple(others))
        if self.dockerfile is None:
            return None
        dockerfile = _normal(plan.base_dir / self.dockerfile)
        return DockerfileRequest(
            _there(dockerfile, os.path.isfile, "source.dockerfile", "file"),
            _there(
                _normal(plan.base_dir / (self.context or dockerfile.parent)), os.path.isdir, "source.context", "folder"
            ),
            plan.platform,
            driver=self.builder,
            target=self.target or None,
            build_args=self.build_args,
            secrets={
                name: _there(_normal(plan.base_dir / path), os.path.isfile, f"source.secrets.{name}", "file")
                for name, path in self.secrets.items()
            },
            no_cache=self.no_cache,
            base_dir=base_dir,
            epoch=plan.epoch,
        )


def _normal(path: Path) -> Path:
    """Without `.` and `..`; a symlink stays, since the Dockerfile's folder is that of the name which the user gave."""
    return Path(os.path.normpath(path))


def _there(path: Path, check: Callable[[Path], bool], key: str, kind: str) -> Path:
    if not check(path):
        what = f"is no {kind}" if os.path.lexists(path) else "is not there"
        raise UsageError(f"{key}: {path} {what}; expected a {kind}")
    return path
