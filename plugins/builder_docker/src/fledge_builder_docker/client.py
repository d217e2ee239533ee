"""The three ways in which a docker command builds, and the command line of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fledge.sources import DockerfileRequest
from fledge.tools import csv_line

_BUILT_IN: Final = range(19, 23)
"""The major versions of the docker command that speak BuildKit without buildx; later ones hand over to it."""


@dataclass(frozen=True, slots=True)
class Client:
    """A way to build."""

    words: Sequence[str]
    """The command, and the flags that only it has."""
    environ: Mapping[str, str] = field(default_factory=dict)


# Attestations would make an index of the image, and nothing reads them here.
BUILDX: Final = Client(
    ("docker", "buildx", "build", "--progress=plain", "--load", "--provenance=false", "--sbom=false"),
)
BUILT_IN: Final = Client(("docker", "build", "--progress=plain"), {"DOCKER_BUILDKIT": "1"})
CLASSIC: Final = Client(("docker", "build", "--force-rm"), {"DOCKER_BUILDKIT": "0"})


def without_buildx(version: str) -> Client:
    """What the docker command of a version (`20.10.24+dfsg1`) can do by itself."""
    major = re.match(r"\d+", version)
    return BUILT_IN if major is not None and int(major[0]) in _BUILT_IN else CLASSIC


def command(client: Client, request: DockerfileRequest, name: str) -> list[str]:
    """The command line that builds the request's image and calls it `name`."""
    argv = [*client.words, "--file", str(request.dockerfile), "--tag", name, "--platform", str(request.platform)]
    if request.target is not None:
        argv += ["--target", request.target]
    # The classic builder would warn of an argument that nobody uses.
    arguments = request.build_args if client is CLASSIC else request.dated_args
    for key, value in arguments.items():
        argv += ["--build-arg", f"{key}={value}"]
    for key, path in request.secrets.items():
        argv += ["--secret", csv_line(f"id={key}", f"src={path}")]
    if request.no_cache:
        argv.append("--no-cache")
    return [*argv, str(request.build_context)]
