"""What inodes hold, as digests: two that differ in anything that a copy of them would have, differ in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fledge.tree.content import Content
from fledge.tree.inode import Device, Directory, File, Inode, Symlink

from fledge_builder_microvm.context_file import ContextFile


@dataclass(frozen=True, slots=True)
class Outline:
    """All that can be told of an inode, and what is below it, without reading a file."""

    digest: str
    """Over names, metadata, sizes, and which names are one file."""
    contents: Sequence[Content]
    """Of its files, in an order that goes by the names."""


def outline(inode: Inode) -> Outline:
    """Of an inode and all below it.

    Without the time of a directory at the top: that of the build context changes with whatever is written into it, an
    artifact for one, and it is not copied.
    """
    numbers: dict[int, int] = {}
    contents: list[Content] = []
    lines: list[str] = []
    todo: list[tuple[bytes, Inode]] = [(b"", inode)]
    while todo:
        path, inode = todo.pop()
        number = numbers.setdefault(id(inode), len(numbers))
        what: object = ()
        if isinstance(inode, Directory):
            todo += [(path + b"/" + name, child) for name, child in sorted(inode.entries.items(), reverse=True)]
        elif isinstance(inode, File):
            what = inode.content.size
            contents.append(inode.content)
        elif isinstance(inode, Symlink):
            what = inode.target
        elif isinstance(inode, Device):
            what = (inode.major, inode.minor)
        mtime = 0 if not path and isinstance(inode, Directory) else inode.mtime
        xattrs = sorted(inode.xattrs.items()) if inode.xattrs else ()
        lines.append(repr((path, number, inode.FORMAT, inode.mode, inode.uid, inode.gid, mtime, xattrs, what)))
    return Outline(hashlib.sha256("\n".join(lines).encode()).hexdigest(), contents)


def fingerprint(inode: Inode) -> str:
    """A digest of the inode and all below it. Raises BuildError for a file that can't be read."""
    found = outline(inode)
    return completed(found.digest, found.contents)


def completed(digest: str, contents: Sequence[Content]) -> str:
    """`digest`, an outline's, and the bytes of all files, as one. Raises BuildError for a file that can't be read."""
    whole = hashlib.sha256(bytes.fromhex(digest))
    for content in contents:
        whole.update(_digest(content))
    return whole.hexdigest()


def _digest(content: Content) -> bytes:
    source = content.pieces[0].source if content.pieces else None
    if isinstance(source, ContextFile):
        return source.digest()
    digest = hashlib.sha256()
    for chunk in content.chunks():
        digest.update(chunk)
    return digest.digest()
