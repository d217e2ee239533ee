"""What a tree needs of a filesystem, before anything is placed: inode numbers, names, links, sectors."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from fledge.blocks import data_runs
from fledge.errors import BuildError
from fledge.tree.inode import Device, Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import show_path

from fledge_fs_btrfs import links, xattrs
from fledge_fs_btrfs.checksum import name_hash
from fledge_fs_btrfs.format import (
    CHECKSUM,
    ENTRY,
    ENTRY_TYPES,
    FIRST_INDEX,
    FIRST_INO,
    GENERATION,
    INODE_ITEM,
    ITEM,
    KIB,
    MAX_FILE,
    MAX_INLINE,
    MAX_ITEM,
    MAX_LINKS,
    MAX_NAME,
    MAX_SYMLINK,
    MIB,
    SECTOR,
    SECTOR_BITS,
)

_METADATA = struct.Struct("<IIIQQQI")
"""What the UUIDs are derived from, besides entries, xattrs and targets, which each follow how long they are or how many:
mode uid gid mtime size-or-device sectors xattrs"""
_LOW = (1 << 64) - 1

# Bytes of the trees at most.
_PER_NAME = KIB
"""An INODE_EXTREF, a DIR_ITEM and a DIR_INDEX with the name in each."""
_PER_INODE = 256
"""An INODE_ITEM, and what stands before inline data."""
_PER_EXTENT = 256
"""An EXTENT_DATA, an EXTENT_ITEM, and the head of an EXTENT_CSUM_ITEM."""
_SMALL_TREES = 64 * MIB
"""The chunks and groups of 16 TiB."""


@dataclass(slots=True)
class Folder:
    """A directory's entries. `by_hash`: the offsets and the data of its DIR_ITEMs, by rising keys."""

    size: int
    """As st_size shows it: every name counts twice, for there are two items of it."""
    entries: list[bytes]
    """The data of its DIR_INDEX items, from FIRST_INDEX on."""
    by_hash: list[tuple[int, bytes]]


@dataclass(slots=True)
class Survey:
    """The inodes stand in the order of their numbers, from FIRST_INO on; the first one is the root."""

    inodes: list[Inode] = field(default_factory=list)
    names: list[links.Name] = field(default_factory=list)
    """The first name of each inode."""
    references: dict[int, tuple[int, list[links.Item]]] = field(default_factory=dict)
    """To an inode number of several names: how many, and the items that hold them."""
    folders: dict[int, Folder] = field(default_factory=dict)
    xattrs: dict[int, list[xattrs.Item]] = field(default_factory=dict)
    sectors: int = 0
    """Of all contents."""
    metadata: int = 0
    """Bytes that the trees take at most."""
    digest: bytes = b""
    """sha256 over all names and metadata."""


def survey(tree: Tree) -> Survey:
    """Raises BuildError, with the path, for what btrfs can't hold."""
    found = Survey()
    digest = hashlib.sha256()
    for ino, names in _number_inodes(tree, found).items():
        found.references[ino] = len(names), _references(tree, found.inodes[ino - FIRST_INO], names)
    for ino, folder in found.folders.items():
        digest.update(struct.pack("<QQ", ino, len(folder.entries)) + b"".join(folder.entries))
    digest.update(_measure(tree, found))
    found.digest = digest.digest()
    return found


def _number_inodes(tree: Tree, found: Survey) -> dict[int, list[links.Name]]:
    """Numbers the inodes so that those of one folder stand together. Returns all names of those that have several."""
    inodes, names = found.inodes, found.names
    several: dict[int, list[links.Name]] = {}
    numbers: dict[Inode, int] = {}
    pack = ENTRY.pack
    inodes.append(tree.root)
    names.append((FIRST_INO, 0, b".."))
    stack: list[tuple[Directory, int]] = [(tree.root, FIRST_INO)]
    while stack:
        folder, ino = stack.pop()
        entries: list[bytes] = []
        by_hash: dict[int, bytes] = {}
        below: list[tuple[Directory, int]] = []
        size = 0
        for index, (name, inode) in enumerate(sorted(folder.entries.items()), FIRST_INDEX):
            child = numbers.get(inode)
            if child is None:
                child = numbers[inode] = FIRST_INO + len(inodes)
                inodes.append(inode)
                names.append((ino, index, name))
                if isinstance(inode, Directory):
                    below.append((inode, child))
            else:
                assert not isinstance(inode, Directory)
                several.setdefault(child, [names[child - FIRST_INO]]).append((ino, index, name))
            length = len(name)
            if length > MAX_NAME:
                raise BuildError(
                    f"{tree.path_of(folder)}: the name {show_path(name)[1:]} has {length} bytes; btrfs holds {MAX_NAME}"
                )
            size += length
            entry = pack(child, INODE_ITEM, 0, GENERATION, 0, length, ENTRY_TYPES[inode.FORMAT]) + name
            entries.append(entry)
            key = name_hash(name)
            same = by_hash.get(key)
            if same is not None:
                entry = same + entry
                if len(entry) > MAX_ITEM:
                    raise BuildError(
                        f"{tree.path_of(folder)}: {show_path(name)[1:]} shares its hash with more names than btrfs holds"
                    )
            by_hash[key] = entry
        found.folders[ino] = Folder(2 * size, entries, sorted(by_hash.items()))
        stack.extend(reversed(below))
    return several


def _references(tree: Tree, inode: Inode, names: list[links.Name]) -> list[links.Item]:
    if len(names) > MAX_LINKS:
        raise BuildError(f"{tree.path_of(inode)} has {len(names)} hard links; btrfs holds {MAX_LINKS}")
    try:
        return links.references(names)
    except OverflowError:
        raise BuildError(f"{tree.path_of(inode)} has more names of one hash than btrfs holds") from None


def _measure(tree: Tree, found: Survey) -> bytes:
    """Counts sectors and bytes of metadata, encodes xattrs, checks limits. Returns all metadata of the inodes in a row."""
    described: list[bytes] = []
    known: dict[tuple[tuple[bytes, bytes], ...], list[xattrs.Item]] = {}
    pack = _METADATA.pack
    total = 0
    metadata = sum(len(folder.entries) for folder in found.folders.values()) * _PER_NAME
    for ino, inode in enumerate(found.inodes, FIRST_INO):
        sectors = size = 0
        text = b""
        if isinstance(inode, File):
            content = inode.content
            pieces = content.pieces
            size = content.size
            if size > MAX_FILE:
                raise BuildError(f"{tree.path_of(inode)} has {size} bytes; a btrfs file holds {MAX_FILE}")
            if size > MAX_INLINE:
                if len(pieces) == 1 and pieces[0].length == size:
                    sectors = (size + SECTOR - 1) >> SECTOR_BITS
                    metadata += _PER_EXTENT
                else:
                    runs = data_runs(content, SECTOR_BITS)
                    sectors = sum(count for _, count in runs)
                    metadata += _PER_EXTENT * len(runs)
                total += sectors
            else:
                metadata += size
        elif isinstance(inode, Symlink):
            size = len(inode.target)
            if size > MAX_SYMLINK:
                raise BuildError(f"{tree.path_of(inode)} points to {size} bytes; a btrfs symlink holds {MAX_SYMLINK}")
            text = inode.target
        elif isinstance(inode, Device):
            size = inode.major << 20 | inode.minor
        if inode.xattrs:
            key = tuple(sorted(inode.xattrs.items()))
            items = known.get(key)
            if items is None:
                try:
                    items = known[key] = xattrs.encode(inode.xattrs)
                except xattrs.Unfit as unfit:
                    raise BuildError(f"{tree.path_of(inode)}: {unfit}") from None
            found.xattrs[ino] = items
            text += b"".join([data for _, data in items])
            metadata += ITEM.size * len(items)
        metadata += _PER_INODE + len(text)
        described.append(
            pack(inode.mode, inode.uid, inode.gid, inode.mtime & _LOW, size, sectors, len(inode.xattrs)) + text
        )
    found.sectors = total
    # Two leaves in a row hold more than one can: three times the items leave room for the nodes, too.
    found.metadata = 3 * (metadata + total * CHECKSUM.size) + _SMALL_TREES
    return b"".join(described)
