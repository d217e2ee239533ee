"""`fledge plugins`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from fledge import drivers


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Lists the installed plugins: kind, name, distribution and version, and what failed to load and why.

    Exits with 1 when one failed to load.
    """
    found = drivers.installed()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        rows = [(one.kind, one.name, one.distribution, one.version, one.failure or "") for one in found]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True))
            click.echo(f"{line}  failed to load: {row[4]}" if row[4] else line.rstrip())
        if not rows:
            click.echo("no plugins are installed; try: pip install 'fledge[all]'", err=True)
    return 1 if any(one.failure for one in found) else 0
