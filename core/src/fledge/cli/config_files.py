"""The options that name the two config files, for every command that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)


def manifest_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--manifest`; the command gets `manifest`, None where not given."""
    told = "The runtime's defaults.  [default: ./manifest.toml, if it is there]"
    return click.option("-m", "--manifest", type=_PATH, help=told)(command)


def config_files(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--config` and `--manifest`; the command gets `config` and `manifest`, None where not given."""
    told = "The build's fledge.toml.  [default: ./fledge.toml]"
    return click.option("-c", "--config", type=_PATH, help=told)(manifest_file(command))
