"""`fledge plugin new`."""

from __future__ import annotations

from pathlib import Path

import click

from fledge.cli.terminal import Terminal
from fledge.drivers import GROUPS


@click.group("plugin")
def command() -> None:
    """Helps whoever writes a plugin; `fledge plugins` lists those that are installed."""


@command.command("new")
@click.argument("kind", type=click.Choice(list(GROUPS)))
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The folder to make.  [default: the package's name, here]"
)
@click.pass_obj
def new(terminal: Terminal, kind: str, name: str, output: Path | None) -> None:
    """Makes a package for a plugin of KIND, which users will call NAME: with an entry point, options, and tests.

    It can be installed at once and is found; its tests are those that every plugin of the kind must pass, and fail where
    the code says TODO.
    """
    from fledge.scaffold.package import new_package

    folder = new_package(kind, name, output)
    terminal.progress().info(f"next: cd {folder}; pip install -e '.[test]'; pytest")
    click.echo(folder)
