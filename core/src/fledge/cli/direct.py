"""What `fledge build` builds directly: the keys of `[source]`, from what stands on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from fledge.errors import UsageError

DOCKERFILES: Final = ("Dockerfile", "Containerfile")
"""What a folder's is called, the first that is there."""

_FLAGS: Final = {
    "context": "--context",
    "target": "--target",
    "build_arg": "--build-arg",
    "builder": "--builder",
    "secret": "--secret",
    "no_cache": "--no-cache",
}


def dockerfile_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what goes with a Dockerfile; the command gets it by the names that `source_of` looks for."""
    file, folder = click.Path(exists=True, dir_okay=False), click.Path(exists=True, file_okay=False)
    for option in (
        click.option("--no-cache", is_flag=True, help="Dockerfile: do every step anew."),
        click.option(
            "--secret", multiple=True, metavar="id=ID,src=PATH", help="Dockerfile: a file that steps may see."
        ),
        click.option("--builder", metavar="NAME", help="Dockerfile: microvm, docker, buildah or buildkit."),
        click.option("--build-arg", multiple=True, metavar="K=V", help="Dockerfile: a value for an ARG."),
        click.option("--target", metavar="STAGE", help="Dockerfile: the stage to stop at.  [default: the last one]"),
        click.option("--context", type=folder, help="Dockerfile: what it may copy from.  [default: its folder]"),
        click.option("--dockerfile", type=file, help="The Dockerfile to build, instead of the argument."),
    ):
        command = option(command)
    return command


def source_of(what: str | None, flags: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The keys of `[source]`; None: what fledge.toml says. Raises UsageError for what does not go together."""
    if what == "":  # "$unset", which pathlib would take for this folder.
        raise UsageError("what to build is empty; expected a Dockerfile, its folder, or an image")
    given = [flag for key, flag in _FLAGS.items() if flags[key]]
    if what is not None and flags["dockerfile"] is not None:
        raise UsageError(f"give either --dockerfile {flags['dockerfile']} or {what}, not both")
    dockerfile = flags["dockerfile"] or (_dockerfile(what) if what is not None else None)
    if dockerfile is None:
        if given:
            instead = f"{what} is an image" if what is not None else "with fledge.toml, the keys of [source] say that"
            raise UsageError(f"{given[0]} goes with a Dockerfile on the command line; {instead}")
        return {"image": what} if what is not None else None
    keys = {
        "context": flags["context"],
        "target": flags["target"],
        "builder": flags["builder"],
        "build_args": dict(_argument(text, environ) for text in flags["build_arg"]),
        "secrets": _secrets(flags["secret"]),
        "no_cache": flags["no_cache"],
    }
    return {"dockerfile": dockerfile, **{key: value for key, value in keys.items() if value}}


def _dockerfile(what: str) -> str | None:
    """The Dockerfile that an argument means; None for an image's name. What is here counts before a registry's name."""
    path = Path(what)
    if os.path.isdir(path):
        for name in DOCKERFILES:
            if os.path.isfile(path / name):
                return str(path / name)
        hint = f"for the image: docker://{what}"
        if os.path.exists(path / "oci-layout"):
            hint = f"it is an image layout: oci:{what}"
        elif os.path.exists(path / "fledge.toml"):
            hint = f"it has a fledge.toml: --config {path / 'fledge.toml'}"
        raise UsageError(f"the folder {what} has no Dockerfile", hint=hint)
    if os.path.isfile(path):
        _check_text(path)
        return what
    if what.startswith(("/", "./", "../")) or path.name in DOCKERFILES:
        raise UsageError(f"{what} is not there; expected a Dockerfile, its folder, or an image")
    return None


def _check_text(path: Path) -> None:
    if path.suffix == ".toml":
        raise UsageError(f"{path} is not a Dockerfile", hint=f"a fledge.toml is named with --config {path}")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    if b"\0" in head or head.startswith(b"\x1f\x8b"):
        raise UsageError(
            f"{path} is not a Dockerfile",
            hint=f"an archive with an image is oci-archive:{path} or docker-archive:{path}",
        )


def _argument(text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """`K=V`, or `K` alone for the environment's value, as `docker build` takes it."""
    name, equals, value = text.partition("=")
    if not equals:
        if name not in environ:
            raise UsageError(f"--build-arg: {text!r} has no value, and the environment has no {name}; expected K=V")
        value = environ[name]
    return name, value


def _secrets(texts: Sequence[str]) -> dict[str, str]:
    secrets: dict[str, str] = {}
    for text in texts:
        fields = dict(field.partition("=")[::2] for field in text.split(","))
        path = fields.pop("src", "") or fields.pop("source", "")
        name = fields.pop("id", "")
        if fields not in ({}, {"type": "file"}) or not name or not path:
            raise UsageError(f"--secret: {text!r} is not a secret; expected id=ID,src=PATH")
        if name in secrets:
            raise UsageError(f"--secret: there are two with the id {name!r}")
        if not os.path.isfile(path):
            raise UsageError(f"--secret: {path} is not there; expected a file")
        secrets[name] = path
    return secrets
