"""Whether what is to run in the guest can run: looked up in the finished tree, as the guest's kernel and init will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fledge.elf import check_program, interpreter
from fledge.errors import BuildError
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File, Inode
from fledge.tree.tree import Tree
from fledge.values import GuestPath, Platform

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What the guest init searches for a workload without PATH."""

_ANY_X: Final = 0o111
_MAX_INTERPRETERS: Final = 5
"""How many programs the kernel goes through for one execve(2) before ELOOP (fs/exec.c)."""


def check_workload(tree: Tree, workload: Mapping[str, Any], platform: Platform) -> None:
    """`workload`: the manifest's section. Raises BuildError when its entrypoint can't be started from the tree."""
    entrypoint: Sequence[str] = workload.get("entrypoint", ())
    if not entrypoint:
        return
    name = entrypoint[0]
    if "/" in name:
        workdir = "" if name.startswith("/") else workload.get("workdir", "/")
        check_startable(tree, guest_path(f"{workdir}/{name}"), platform, "the workload's entrypoint")
        return
    path = workload.get("env", {}).get("PATH", DEFAULT_PATH)
    places = [guest_path(f"{folder}/{name}") for folder in path.split(":") if folder]
    for place in places:
        found = _look_up(tree, place)
        if isinstance(found, File) and found.mode & _ANY_X:
            check_startable(tree, place, platform, "the workload's entrypoint")
            return
    for place in places:
        if _look_up(tree, place) is not None:
            check_startable(tree, place, platform, "the workload's entrypoint")
    raise BuildError(
        f"the workload's entrypoint {name!r} is in no folder of PATH in the image ({path})",
        hint="map the program, or give its whole path" if " " not in name else "give the words of a command one by one",
    )


def check_startable(tree: Tree, path: GuestPath, platform: Platform, what: str) -> None:
    """Raises BuildError, with `what` and the path, unless the kernel can execute what stands at `path`.

    It must be there, be executable, be for `platform`, and its dynamic loader or script interpreter must be so too.
    """
    shown = f"{what} {path}"
    for _ in range(_MAX_INTERPRETERS):
        content = _program(tree, path, shown)
        check_program(content, platform, shown)
        try:
            needed = interpreter(content)
        except ValueError as error:
            raise BuildError(f"{shown} can't be run: {error}") from error
        if needed is None:
            return
        name = needed.decode("utf-8", "surrogateescape")
        if not name.startswith("/"):
            raise BuildError(f"{shown} needs the interpreter {name!r}, which is not an absolute path")
        place = guest_path(name)
        if _look_up(tree, place) is None:
            raise BuildError(
                f"{shown} needs {place}, which is not in the image",
                hint="map it as well (a dynamic loader with its libraries), or link the program statically",
            )
        path, shown = place, f"{place}, which {shown} needs,"
    raise BuildError(f"{what} {path} is a script that needs more than {_MAX_INTERPRETERS - 1} interpreters in a row")


def guest_path(text: str) -> GuestPath:
    """The path as the guest's kernel takes it: `..` is left for the tree to resolve."""
    raw = text.encode("utf-8", "surrogateescape")
    return GuestPath(tuple(part for part in raw.split(b"/") if part not in (b"", b".")))


def _program(tree: Tree, path: GuestPath, shown: str) -> Content:
    inode = _look_up(tree, path)
    if inode is None:
        raise BuildError(f"{shown} is not in the image", hint="map the program, or correct the path")
    if not isinstance(inode, File):
        kind = "a directory" if isinstance(inode, Directory) else "not a regular file"
        raise BuildError(f"{shown} is {kind}; a program is expected")
    if not inode.mode & _ANY_X:
        raise BuildError(
            f"{shown} is not executable (mode {inode.mode:04o})", hint="chmod +x it on the host before it is mapped"
        )
    return inode.content


def _look_up(tree: Tree, path: GuestPath) -> Inode | None:
    """What is at `path` when every symlink is followed; None where that leads nowhere."""
    try:
        return tree.get(tree.resolve(path))
    except BuildError:
        return None
