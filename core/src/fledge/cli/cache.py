"""`fledge cache ls|prune`."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict

import click

from fledge.cli.terminal import human
from fledge.store import Store, default_folder

_DAY = 24 * 60 * 60


@click.group("cache")
def command() -> None:
    """Lists or prunes what builds keep for the next one, in FLEDGE_CACHE_DIR (default: the user's cache folder)."""


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(as_json: bool) -> None:
    """Lists the kept layers, blobs and packs with their sizes and the days since their last use."""
    items = Store(default_folder(os.environ)).items()
    if as_json:
        click.echo(json.dumps([asdict(item) for item in items], indent=2))
        return
    now = time.time()
    for item in items:
        days = max(0, int((now - item.used) // _DAY))
        click.echo(f"{item.kind:<7} {human(item.size):>10}  {days:>4} days  {item.name}")
    click.echo(f"{len(items)} items, {human(sum(item.size for item in items))}", err=True)


@command.command("prune")
@click.option(
    "--older-than", "days", type=click.IntRange(min=0), default=30, show_default=True, help="Days since the last use."
)
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
def prune(days: int, everything: bool) -> None:
    """Removes what no build has used for a while. Waits for nobody: refused while a build uses the cache."""
    store = Store(default_folder(os.environ))
    removed = store.prune(before=None if everything else time.time() - days * _DAY)
    click.echo(f"removed {len(removed)} items, {human(sum(item.size for item in removed))}", err=True)
