"""The options that name the two config files, for every command that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def config_files(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--config` and `--manifest`; the command gets `config` and `manifest`, None where not given."""
    path = click.Path(path_type=Path)
    manifest_help = "The runtime's defaults.  [default: ./manifest.toml, if it is there]"
    command = click.option("-m", "--manifest", type=path, help=manifest_help)(command)
    return click.option("-c", "--config", type=path, help="The build's fledge.toml.  [default: ./fledge.toml]")(command)
