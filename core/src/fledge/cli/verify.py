"""`fledge verify`: reads an artifact back, and compares it with its manifest and with what it was built from."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fledge.cli.config_files import manifest_file
from fledge.cli.terminal import Terminal, human
from fledge.errors import EXIT_FAILED, EXIT_OK, UsageError
from fledge.values import show_path

if TYPE_CHECKING:
    from fledge.kinds import Filesystem
    from fledge.progress import Progress
    from fledge.tree.tree import Tree
    from fledge.verify import Original, Report
    from fledge.verify_tree import Difference


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="ARTIFACT")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Compare with what this fledge.toml builds.")
@manifest_file
@click.option("--image", metavar="IMAGE", help="Compare with a direct build of it.")
@click.option("--agent", metavar="SOURCE", help="With --image: the agent of the direct build.  [default: release]")
@click.option("--platform", metavar="OS/ARCH", help="What it was built for.  [default: this machine's]")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_obj
def command(
    terminal: Terminal,
    artifact: Path,
    config: Path | None,
    manifest: Path | None,
    image: str | None,
    agent: str | None,
    platform: str | None,
    as_json: bool,
) -> int:
    """Reads ARTIFACT, or that of a manifest.json, back without mounting it, and tells what is not as it should be.

    It must be what its manifest says (checksum, format), and every inode and every byte must be readable. With --config
    or --image, the image is fetched and merged again, as for a build, and every inode is compared: kind, mode, owner,
    time, xattrs, content, hard links. Prints a line for each difference, and exits with 1 when there is one.
    """
    for flag, value in (("--manifest", manifest), ("--platform", platform)):
        if value is not None and config is None and image is None:
            raise UsageError(f"{flag} goes with --config or --image")
    if agent is not None and image is None:
        raise UsageError("--agent goes with --image; with --config, its own keys say that")
    if config is not None and image is not None:
        raise UsageError(f"give either --config or --image ({image!r})")
    gc.disable()  # As for a build: two trees, and no cycles.
    from fledge.verify import verify

    progress = terminal.progress()
    original = None
    if config is not None or image is not None:
        original = _original(progress, config, manifest, image, agent, platform)
    report = verify(artifact, progress, original)
    terminal.close()
    if as_json:
        click.echo(json.dumps(_facts(report), indent=2))
    else:
        _print_differences(report)
        terminal.progress(live=False).info(_summary(report, merged=original is not None))
    return EXIT_FAILED if report.differences else EXIT_OK


def _original(
    progress: Progress,
    config: Path | None,
    manifest: Path | None,
    image: str | None,
    agent: str | None,
    platform: str | None,
) -> Original:
    """The build's first half, with what the user says of the build."""

    def merge(name: str, driver: type[Filesystem]) -> tuple[Filesystem, Tree]:
        from fledge import config as configuration
        from fledge import drivers, pipeline
        from fledge.context import BuildContext
        from fledge.store import Store, default_folder

        if image is None:
            plan = configuration.load(config, manifest, platform=platform, environ=os.environ)
        else:
            plan = configuration.plan_direct(
                {"image": image},
                initramfs=driver.medium == "initramfs",
                manifest=manifest,
                platform=platform,
                agent=agent,
                filesystem=name,
                environ=os.environ,
            )
        context = BuildContext(Store(default_folder(os.environ)), progress)
        return pipeline.merged_tree(plan, context, drivers.extensions())

    return merge


def _print_differences(report: Report) -> None:
    for one in report.differences:
        place = report.artifact.name if one.path is None else show_path(one.path)
        print(f"{place}: {one.what}: expected {one.expected}, found {one.found}")
    sys.stdout.flush()


def _summary(report: Report, *, merged: bool) -> str:
    what = f"{report.format}, {report.inodes} inodes, {human(report.size)} in files" if report.format else "unknown"
    compared = [f"as {report.manifest.name} says"] if report.manifest else ["no manifest"]
    compared += ["every inode as it was merged" if merged else "every byte can be read"]
    count = len(report.differences)
    result = f"{count} difference{'s' if count > 1 else ''}" if count else ", ".join(compared)
    return f"{report.artifact}: {what}: {result}"


def _facts(report: Report) -> dict[str, Any]:
    """Names are bytes: what is not UTF-8 is given with lone surrogates, as Python's surrogateescape does."""
    return {
        "artifact": str(report.artifact),
        "manifest": str(report.manifest) if report.manifest is not None else None,
        "format": report.format,
        "inodes": report.inodes,
        "size": report.size,
        "differences": [_difference(one) for one in report.differences],
    }


def _difference(one: Difference) -> dict[str, str | None]:
    path = None if one.path is None else "/" + one.path.decode("utf-8", "surrogateescape")
    return {"path": path, "what": one.what, "expected": one.expected, "found": one.found}
