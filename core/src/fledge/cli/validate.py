"""`fledge validate`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fledge.cli.terminal import Terminal


@click.command("validate")
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="The build's fledge.toml.  [default: ./fledge.toml]"
)
@click.option(
    "-m",
    "--manifest",
    type=click.Path(path_type=Path),
    help="The runtime's defaults.  [default: ./manifest.toml, if it is there]",
)
@click.pass_obj
def command(terminal: Terminal, config: Path | None, manifest: Path | None) -> None:
    """Checks fledge.toml and manifest.toml and tells all problems at once, each with file, key, value and what is allowed."""
    from fledge import config as configuration

    configuration.load(config, manifest, environ=os.environ)
    terminal.progress().info("nothing is wrong")
