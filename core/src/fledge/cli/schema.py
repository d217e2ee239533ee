"""`fledge schema`."""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.argument("name", type=click.Choice(["fledge", "manifest-template", "manifest"]))
def command(name: str) -> None:
    """Prints the JSON Schema of fledge.toml, manifest.toml or manifest.json, with the options of the installed plugins."""
    from fledge import config as configuration

    click.echo(json.dumps(configuration.schema(name), indent=2))
