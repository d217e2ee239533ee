"""What a tree needs of a filesystem, before anything is placed: inode numbers, links, entries, blocks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from fledge.blocks import data_runs
from fledge.errors import BuildError
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import show_path

from fledge_fs_ext4 import xattrs
from fledge_fs_ext4.directory import DIRECTORY_TYPE, FILE_TYPES, MAX_INDEXED, Entry, Index, list_entries, record_size
from fledge_fs_ext4.extents import most_tree_blocks
from fledge_fs_ext4.format import (
    BLOCK,
    BLOCK_BITS,
    DIR_ROOM,
    FAST_SYMLINK,
    FIRST_INO,
    MAX_FILE_BLOCKS,
    MAX_LINKS,
    MAX_NAME,
    MAX_SYMLINK,
    ROOT_INO,
)

_SURELY_FLAT = 2 * 2048
"""Blocks of a file in one run below which its extents fit into the inode."""


@dataclass(slots=True)
class Survey:
    """The inodes stand in the order of their numbers: the root's is 2, the rest follow from 11 on."""

    inodes: list[Inode] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    """Names of each inode; of a directory, as st_nlink counts them."""
    listings: dict[int, bytes] = field(default_factory=dict)
    """A directory's number to its entries, where one block holds them."""
    indexes: dict[int, Index] = field(default_factory=dict)
    """A directory's number to its entries, where it is a larger one."""
    xattrs: dict[int, xattrs.Stored] = field(default_factory=dict)
    hash_seed: bytes = b""
    checksum_seed: int = 0
    """As the library's crc32c, not as stored."""
    metadata_blocks: int = 0
    """Directories, xattrs, symlinks and extent trees, at most."""
    data_blocks: int = 0

    @property
    def inode_count(self) -> int:
        """Inodes in use, with the reserved ones."""
        return FIRST_INO - 1 + len(self.inodes) - 1


def number(index: int) -> int:
    """The inode number of the inode that stands at `index` of the survey."""
    return FIRST_INO - 1 + index if index else ROOT_INO


def _index(ino: int) -> int:
    """The reverse of `number`."""
    return 0 if ino == ROOT_INO else ino - FIRST_INO + 1


def survey(tree: Tree) -> Survey:
    """Raises BuildError, with the path, for what ext4 can't hold."""
    found = Survey()
    large = _number_inodes(tree, found)
    for ino, (parent, entries) in large.items():
        try:
            index = found.indexes[ino] = Index(ino, parent, entries, found.hash_seed)
        except OverflowError:
            path = tree.path_of(found.inodes[_index(ino)])
            raise BuildError(
                f"{path} has {len(entries)} entries; an ext4 folder holds {MAX_INDEXED} blocks of them"
            ) from None
        found.metadata_blocks += index.blocks + most_tree_blocks([(0, index.blocks)])
    found.metadata_blocks += len(found.listings)
    _measure(tree, found)
    return found


def _number_inodes(tree: Tree, found: Survey) -> dict[int, tuple[int, list[Entry]]]:
    """Numbers the inodes so that those of one folder stand together. Returns the folders that need an index."""
    inodes, links = found.inodes, found.links
    numbers: dict[Inode, int] = {}
    large: dict[int, tuple[int, list[Entry]]] = {}
    # What the seeds are derived from: every name, and which inode it is.
    digest = hashlib.sha256()
    inodes.append(tree.root)
    links.append(2)
    stack: list[tuple[Directory, int, int]] = [(tree.root, ROOT_INO, ROOT_INO)]
    while stack:
        folder, ino, parent = stack.pop()
        entries: list[Entry] = [(b".", ino, DIRECTORY_TYPE), (b"..", parent, DIRECTORY_TYPE)]
        size = 2 * record_size(b"..")
        below: list[tuple[Directory, int, int]] = []
        for name, inode in sorted(folder.entries.items()):
            child = numbers.get(inode)
            if child is None:
                child = numbers[inode] = number(len(inodes))
                inodes.append(inode)
                if isinstance(inode, Directory):
                    links.append(2)
                    below.append((inode, child, ino))
                else:
                    links.append(1)
            else:
                assert not isinstance(inode, Directory)
                links[_index(child)] += 1
            length = len(name)
            if length > MAX_NAME:
                raise BuildError(
                    f"{tree.path_of(folder)}: the name {show_path(name)[1:]} has {length} bytes; ext4 holds {MAX_NAME}"
                )
            size += (length + 11) & ~3
            entries.append((name, child, FILE_TYPES[inode.FORMAT]))
        links[_index(ino)] += len(below)
        listing = list_entries(entries, max(size, DIR_ROOM))
        digest.update(listing)
        if size <= DIR_ROOM:
            found.listings[ino] = listing
        else:
            large[ino] = parent, entries[2:]
        stack.extend(reversed(below))
    found.hash_seed = digest.digest()[:16]
    found.checksum_seed = int.from_bytes(digest.digest()[16:20], "little")
    return large


def _measure(tree: Tree, found: Survey) -> None:
    """Counts the blocks of all but the directories, and encodes the xattrs."""
    metadata = data = 0
    known: dict[tuple[tuple[bytes, bytes], ...], xattrs.Stored] = {}
    for index, inode in enumerate(found.inodes):
        if isinstance(inode, File):
            content = inode.content
            pieces = content.pieces
            blocks = (content.size + BLOCK - 1) >> BLOCK_BITS
            if len(pieces) == 1 and pieces[0].length == content.size and blocks < _SURELY_FLAT:
                data += blocks
            elif pieces:
                runs = data_runs(content, BLOCK_BITS)
                metadata += most_tree_blocks(runs)
                data += sum(count for _, count in runs)
            if blocks > MAX_FILE_BLOCKS:
                raise BuildError(
                    f"{tree.path_of(inode)} has {content.size} bytes; an ext4 file holds {MAX_FILE_BLOCKS * BLOCK}"
                )
        elif isinstance(inode, Symlink):
            length = len(inode.target)
            if length > MAX_SYMLINK:
                raise BuildError(f"{tree.path_of(inode)} points to {length} bytes; an ext4 symlink holds {MAX_SYMLINK}")
            metadata += length > FAST_SYMLINK
        if inode.xattrs:
            key = tuple(sorted(inode.xattrs.items()))
            stored = known.get(key)
            if stored is None:
                try:
                    stored = known[key] = xattrs.encode(inode.xattrs)
                except xattrs.Unfit as unfit:
                    raise BuildError(f"{tree.path_of(inode)}: {unfit}") from None
            found.xattrs[number(index)] = stored
            metadata += bool(stored.block)
        if found.links[index] > MAX_LINKS and not isinstance(inode, Directory):
            raise BuildError(f"{tree.path_of(inode)} has {found.links[index]} hard links; ext4 holds {MAX_LINKS}")
    found.metadata_blocks += metadata
    found.data_blocks += data
