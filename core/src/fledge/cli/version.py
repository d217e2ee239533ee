"""`fledge version`."""

from __future__ import annotations

import click

import fledge


@click.command("version")
def command() -> None:
    """Prints the version."""
    click.echo(f"fledge {fledge.__version__}")
