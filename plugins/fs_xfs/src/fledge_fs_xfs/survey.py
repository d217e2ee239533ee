"""What a tree needs of a filesystem, before anything is placed: inodes, links, forks, blocks; and its UUID."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from fledge.blocks import data_runs
from fledge.errors import BuildError
from fledge.identity import derived_uuid
from fledge.tree.inode import Device, Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import show_path

from fledge_fs_xfs import xattrs
from fledge_fs_xfs.attribute_blocks import AttributeBlocks
from fledge_fs_xfs.bmap import most_tree_blocks
from fledge_fs_xfs.directory import Shape, measure
from fledge_fs_xfs.format import (
    BLOCK,
    BLOCK_BITS,
    DEVICE_MINOR_BITS,
    DIR_SPACE,
    LEAST_FORK,
    LITERAL,
    MAX_FILE_SIZE,
    MAX_LINKS,
    MAX_MAJOR,
    MAX_MINOR,
    MAX_NAME,
    MAX_SYMLINK,
    SHORT_DIR,
    SHORT_ENTRY_EXTRA,
    TIME_MAX,
    TIME_MIN,
)

RESERVED = 2
"""Inodes of the filesystem's own, behind the root's: bitmap and summary of a realtime device, which there is not."""
_DEFAULT_DATA_FORK = 192
"""As the kernel divides an inode whose attributes have blocks of their own (m_attroffset)."""
_LEAST_ATTR_FORK = 40
"""A root for two extent blocks: the kernel leaves an attribute fork no less (MINABTPTRS)."""
_DEVICE_FORK = 8
_SURELY_FLAT = 2048
"""Blocks of a file in one run below which its extents fit into the inode, however it is divided."""
_IDENTITY = struct.Struct("<IIIQqI")
"""mode uid gid mtime-as-bigtime size xattrs"""

XattrKey = tuple[tuple[bytes, bytes], ...]


class Stored(NamedTuple):
    """The extended attributes of an inode, in one of two forms. `inside`: for the inode itself."""

    inside: bytes
    blocks: AttributeBlocks | None
    data_fork: int
    """Bytes of the inode that are left for the data fork."""


@dataclass(slots=True)
class Survey:
    """The inodes by index: the root is 0, the filesystem's own are not among them."""

    inodes: list[Inode] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    """Names of each inode; of a directory, as st_nlink counts them."""
    listings: dict[int, list[tuple[bytes, int]]] = field(default_factory=dict)
    """A directory's index to its names and their inodes' indexes, sorted."""
    parents: dict[int, int] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    """A directory's index to its blocks, where it has any."""
    xattrs: dict[int, Stored] = field(default_factory=dict)
    metadata_blocks: int = 0
    """Directories, xattrs, symlinks and extent trees, at most."""
    data_blocks: int = 0
    uuid: bytes = b""

    @property
    def inode_count(self) -> int:
        """Inodes in use, with the filesystem's own."""
        return len(self.inodes) + RESERVED


def survey(tree: Tree) -> Survey:
    """Raises BuildError, with the path, for what XFS can't hold."""
    found = Survey()
    digest = hashlib.sha256()
    _number_inodes(tree, found, digest)
    _measure(tree, found, digest)
    found.uuid = derived_uuid(digest.digest())
    return found


def _number_inodes(tree: Tree, found: Survey, digest: hashlib._Hash) -> None:
    """Gives the inodes their order, in which those of one folder stand together."""
    inodes, links, listings, parents = found.inodes, found.links, found.listings, found.parents
    indexes: dict[Inode, int] = {}
    inodes.append(tree.root)
    links.append(2)
    parents[0] = 0
    stack: list[tuple[Directory, int]] = [(tree.root, 0)]
    while stack:
        folder, index = stack.pop()
        listing: list[tuple[bytes, int]] = []
        below: list[tuple[Directory, int]] = []
        for name, inode in sorted(folder.entries.items()):
            child = indexes.get(inode)
            if child is None:
                child = indexes[inode] = len(inodes)
                inodes.append(inode)
                if isinstance(inode, Directory):
                    links.append(2)
                    parents[child] = index
                    below.append((inode, child))
                else:
                    links.append(1)
            else:
                assert not isinstance(inode, Directory)
                links[child] += 1
            if len(name) > MAX_NAME:
                raise BuildError(
                    f"{tree.path_of(folder)}: the name {show_path(name)[1:]} has {len(name)} bytes; xfs holds {MAX_NAME}"
                )
            listing.append((name, child))
        links[index] += len(below)
        listings[index] = listing
        # No name has a slash, so this says which names there are; the numbers, which of them are one inode.
        digest.update(b"/".join([name for name, _ in listing]))
        digest.update(struct.pack(f"<{len(listing) + 1}I", len(listing), *[child for _, child in listing]))
        stack.extend(reversed(below))


def _measure(tree: Tree, found: Survey, digest: hashlib._Hash) -> None:
    """Counts the blocks, and divides the inodes that have xattrs."""
    metadata = data = 0
    known: dict[XattrKey, tuple[list[xattrs.Attribute], int]] = {}
    links = found.links
    identify = _IDENTITY.pack
    identities: list[bytes] = []
    for index, inode in enumerate(found.inodes):
        size = 0
        room = LITERAL
        device = xattr_number = 0
        if inode.xattrs:
            key = tuple(sorted(inode.xattrs.items()))
            if key not in known:
                digest.update(repr(key).encode())
                known[key] = _parse(tree, inode), len(known) + 1
            attributes, xattr_number = known[key]
            stored = found.xattrs[index] = _divide(attributes, inode, found.listings.get(index))
            room = stored.data_fork
            if stored.blocks is not None:
                count = stored.blocks.blocks
                metadata += count + most_tree_blocks([(0, count)], LITERAL - room)
        if isinstance(inode, File):
            content = inode.content
            pieces = content.pieces
            size = content.size
            blocks = (size + BLOCK - 1) >> BLOCK_BITS
            if size > MAX_FILE_SIZE:
                raise BuildError(f"{tree.path_of(inode)} has {size} bytes; an xfs file holds {MAX_FILE_SIZE}")
            if len(pieces) == 1 and pieces[0].length == size and blocks < _SURELY_FLAT:
                data += blocks
            elif pieces:
                runs = data_runs(content, BLOCK_BITS)
                metadata += most_tree_blocks(runs, room)
                data += sum([count for _, count in runs])
        elif isinstance(inode, Directory):
            if _size_inside(found.listings[index]) > room:
                shape = found.shapes[index] = _shape(tree, inode, found.listings[index])
                metadata += shape.blocks + most_tree_blocks(shape.spaces, room)
        elif isinstance(inode, Symlink):
            size = len(inode.target)
            if size > MAX_SYMLINK:
                raise BuildError(f"{tree.path_of(inode)} points to {size} bytes; an xfs symlink holds {MAX_SYMLINK}")
            metadata += size > room
            digest.update(inode.target)
        elif isinstance(inode, Device):
            device = _device(tree, inode)
        if links[index] > MAX_LINKS:
            raise BuildError(f"{tree.path_of(inode)} has {links[index]} hard links; xfs holds {MAX_LINKS}")
        mtime = min(max(inode.mtime, TIME_MIN), TIME_MAX) - TIME_MIN
        identities.append(
            identify(inode.FORMAT | inode.mode, inode.uid, inode.gid, mtime, size or device, xattr_number)
        )
    digest.update(b"".join(identities))
    found.metadata_blocks = metadata
    found.data_blocks = data


def _device(tree: Tree, inode: Device) -> int:
    if inode.major > MAX_MAJOR or inode.minor > MAX_MINOR:
        raise BuildError(
            f"{tree.path_of(inode)} is the device {inode.major}:{inode.minor}; xfs holds {MAX_MAJOR}:{MAX_MINOR} at most"
        )
    return inode.major << DEVICE_MINOR_BITS | inode.minor


def _parse(tree: Tree, inode: Inode) -> list[xattrs.Attribute]:
    try:
        return xattrs.parse(inode.xattrs)
    except xattrs.Unfit as unfit:
        raise BuildError(f"{tree.path_of(inode)}: {unfit}") from None


def _divide(attributes: list[xattrs.Attribute], inode: Inode, listing: list[tuple[bytes, int]] | None) -> Stored:
    """Divides an inode between data and attributes. Data that stand in the inode come first, as in the kernel."""
    inside = xattrs.list_inside(attributes)
    if not isinstance(inode, File | Directory | Symlink):
        # xfs_repair knows one place only for the attributes of devices, pipes and sockets.
        if inside is not None and len(inside) <= LITERAL - _DEVICE_FORK:
            return Stored(inside, None, _DEVICE_FORK)
        return Stored(b"", AttributeBlocks(attributes), _DEVICE_FORK)
    data = 0
    if listing is not None:
        data = _size_inside(listing)
    elif isinstance(inode, Symlink):
        data = len(inode.target)
    most = LITERAL - _LEAST_ATTR_FORK
    least = max(_up(data), LEAST_FORK) if data <= most else LEAST_FORK
    if inside is not None:
        left = min(LITERAL - _up(len(inside)), most)
        if left >= least:
            return Stored(inside, None, left)
    return Stored(b"", AttributeBlocks(attributes), max(least, _DEFAULT_DATA_FORK))


def _size_inside(listing: list[tuple[bytes, int]]) -> int:
    return SHORT_DIR.size + sum([len(name) for name, _ in listing]) + len(listing) * SHORT_ENTRY_EXTRA


def _shape(tree: Tree, folder: Directory, listing: list[tuple[bytes, int]]) -> Shape:
    try:
        return measure([len(name) for name, _ in listing])
    except OverflowError:
        raise BuildError(
            f"{tree.path_of(folder)} has {len(listing)} entries; an xfs folder holds {DIR_SPACE} bytes of them"
        ) from None


def _up(size: int) -> int:
    """A fork's size is a multiple of eight bytes."""
    return (size + 7) & ~7
