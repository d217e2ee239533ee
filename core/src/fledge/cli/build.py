"""`fledge build`."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fledge.cli.config_files import config_files
from fledge.cli.direct import dockerfile_flags, source_of
from fledge.cli.terminal import Terminal
from fledge.errors import UsageError

if TYPE_CHECKING:
    from fledge.pipeline import BuildResult
    from fledge.plan import BuildPlan


@click.command("build")
@click.argument("what", required=False, metavar="[DOCKERFILE|IMAGE]")
@config_files
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where the artifact goes.  [default: ./NAME-rootfs.img]"
)
@click.option(
    "--output-initramfs",
    is_flag=False,
    flag_value="",
    metavar="[PATH]",
    help="Direct build: an initramfs instead of a root filesystem, and where it goes.  [default: ./NAME.cpio.gz]",
)
@click.option("--artifact-url", metavar="URL", help="What the manifest's url says instead of the local file.")
@click.option("--platform", metavar="OS/ARCH", help="linux/amd64 or linux/arm64.  [default: this machine's]")
@click.option(
    "--agent", metavar="SOURCE", help="Direct build: none, release[:VERSION], local:PATH or a URL.  [default: release]"
)
@click.option("--filesystem", metavar="TYPE", help="Direct build: the filesystem's type.  [default: squashfs]")
@dockerfile_flags
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")
@click.pass_obj
def command(
    terminal: Terminal,
    /,
    what: str | None,
    config: Path | None,
    manifest: Path | None,
    output: Path | None,
    output_initramfs: str | None,
    artifact_url: str | None,
    platform: str | None,
    agent: str | None,
    filesystem: str | None,
    as_json: bool,
    **of_dockerfile: Any,
) -> None:
    """Builds what fledge.toml says, or directly a Dockerfile (./Dockerfile, ./folder) or an image (docker://nginx:alpine).

    Prints the paths of the artifact and of its manifest. Needs no root.
    """
    # A tree of a hundred thousand inodes has no cycles; looking for them again and again costs a third of the build.
    gc.disable()
    from fledge import config as configuration

    source = source_of(what, of_dockerfile, os.environ)
    if source is None:
        taken = f"{output_initramfs} is taken for where the artifact goes; name what to build before the flag"
        for flag, value, hint in (
            ("--output-initramfs", output_initramfs, taken if output_initramfs else None),
            ("--agent", agent, None),
            ("--filesystem", filesystem, None),
        ):
            if value is not None:
                raise UsageError(f"{flag} goes with a direct build; with fledge.toml, its own keys say that", hint=hint)
        plan = configuration.load(
            config, manifest, output=output, artifact_url=artifact_url, platform=platform, environ=os.environ
        )
    else:
        if config is not None:
            raise UsageError(f"give either --config or what to build directly ({what or source['dockerfile']!r})")
        if output is not None and output_initramfs:
            raise UsageError("--output and --output-initramfs both name the artifact, and a build makes one; give one")
        plan = configuration.plan_direct(
            source,
            initramfs=output_initramfs is not None,
            manifest=manifest,
            output=Path(output_initramfs) if output_initramfs else output,
            artifact_url=artifact_url,
            platform=platform,
            agent=agent,
            filesystem=filesystem,
            environ=os.environ,
        )
    result = _build(plan, terminal)
    terminal.close()
    if as_json:
        click.echo(json.dumps(_facts(plan, result), indent=2))
    else:
        click.echo(result.artifact.path)
        click.echo(result.manifest_path)


def _build(plan: BuildPlan, terminal: Terminal) -> BuildResult:
    from fledge import drivers, pipeline
    from fledge.context import BuildContext
    from fledge.store import Store, default_folder

    context = BuildContext(Store(default_folder(os.environ)), terminal.progress())
    return pipeline.build(plan, context, drivers.extensions())


def _facts(plan: BuildPlan, result: BuildResult) -> dict[str, object]:
    artifact = result.artifact
    return {
        "artifact": str(artifact.path),
        "manifest": str(result.manifest_path),
        "kind": plan.artifact_kind,
        "format": artifact.format,
        "size": artifact.size,
        "digest": str(artifact.digest),
        "source": artifact.tree.origin,
    }
