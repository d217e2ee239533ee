"""`fledge inspect`: what is inside an artifact, without mounting it."""

from __future__ import annotations

import json
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fledge.cli.terminal import Terminal
from fledge.errors import BuildError, UsageError
from fledge.inspection import read_artifact
from fledge.tree.inode import CharDevice, Device, Directory, File, Inode, Symlink
from fledge.values import GuestPath, show_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fledge.tree.tree import Tree


@click.command("inspect")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("path", default="/")
@click.option("--cat", is_flag=True, help="Write the file PATH to stdout instead of listing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_obj
def command(terminal: Terminal, artifact: Path, path: str, cat: bool, as_json: bool) -> None:
    """Lists what is inside ARTIFACT at PATH and below: mode, owner, size, time, name, link target and xattrs.

    A hard link shows the first of its names after `==`.
    """
    if cat and as_json:
        raise UsageError("--cat and --json exclude each other")
    try:
        guest = GuestPath.parse(path)
    except ValueError as error:
        raise UsageError(str(error)) from None
    name, tree = read_artifact(artifact)
    inode = tree.get(guest)
    if inode is None:
        raise BuildError(f"{artifact} has no {guest}", hint=f"fledge inspect {artifact}")
    if cat:
        _cat(tree, guest)
        return
    count = size = 0
    for full, entry, same_as in _below(tree, guest):
        if as_json:
            print(json.dumps(_facts(full, entry, same_as)))
        else:
            print(_line(full, entry, same_as))
        if same_as is None:
            count += 1
            size += entry.content.size if isinstance(entry, File) else 0
    if not as_json:
        sys.stdout.flush()
        terminal.progress(live=False).info(f"{artifact}: {name}, {count} inodes, {size} bytes in files")


def _cat(tree: Tree, guest: GuestPath) -> None:
    real = tree.resolve(guest)
    inode = tree.get(real)
    if not isinstance(inode, File):
        raise BuildError(f"{guest} is not a regular file" if inode else f"{guest} is a symlink that leads nowhere")
    for chunk in inode.content.chunks():
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _below(tree: Tree, guest: GuestPath) -> Iterator[tuple[bytes, Inode, bytes | None]]:
    """Every name at and below `guest`, and for a further name of an inode the first one."""
    prefix = bytes(guest).lstrip(b"/")
    first: dict[int, bytes] = {}
    for path, inode in tree.walk():
        known = first.setdefault(id(inode), path)
        if not prefix or path == prefix or path.startswith(prefix + b"/"):
            yield path, inode, None if known == path else known


def _line(path: bytes, inode: Inode, same_as: bytes | None) -> str:
    if isinstance(inode, Device):
        size = f"{inode.major},{inode.minor}"
    else:
        size = str(inode.content.size if isinstance(inode, File) else 0)
    text = f"{stat.filemode(inode.FORMAT | inode.mode)} {inode.uid}:{inode.gid} {size:>10} {_moment(inode.mtime)} {show_path(path)}"
    if isinstance(inode, Symlink):
        text += f" -> {show_path(inode.target).removeprefix('' if inode.target.startswith(b'/') else '/')}"
    if same_as is not None:
        text += f" == {show_path(same_as)}"
    for key, value in sorted(inode.xattrs.items()):
        text += f" {show_path(key).removeprefix('/')}=0x{value.hex()}"
    return text


def _moment(nanoseconds: int) -> str:
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return f"@{nanoseconds // 10**9}"


def _facts(path: bytes, inode: Inode, same_as: bytes | None) -> dict[str, Any]:
    """Names and xattrs are bytes: what is not UTF-8 is given with lone surrogates, as Python's surrogateescape does."""

    def text(raw: bytes) -> str:
        return raw.decode("utf-8", "surrogateescape")

    facts: dict[str, Any] = {
        "path": "/" + text(path),
        "type": type(inode).__name__.lower(),
        "mode": f"{inode.mode:04o}",
        "uid": inode.uid,
        "gid": inode.gid,
        "mtime_ns": inode.mtime,
        "xattrs": {text(key): value.hex() for key, value in sorted(inode.xattrs.items())},
    }
    if isinstance(inode, File):
        facts["size"] = inode.content.size
    elif isinstance(inode, Symlink):
        facts["target"] = text(inode.target)
    elif isinstance(inode, Device):
        facts["type"] = "character device" if isinstance(inode, CharDevice) else "block device"
        facts["major"], facts["minor"] = inode.major, inode.minor
    elif isinstance(inode, Directory):
        facts["entries"] = len(inode.entries)
    if same_as is not None:
        facts["hard_link_to"] = "/" + text(same_as)
    return facts
