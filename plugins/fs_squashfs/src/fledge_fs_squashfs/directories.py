"""Directories: their listings and their inodes, which refer to each other across two compressed tables.

A listing tells where the inodes of its entries stand after compression, and a directory's inode tells the same of
its listing. So directories are written from the deepest level up, a level's listings at once and then its inodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fledge.errors import BuildError

from fledge_fs_squashfs import format as fs
from fledge_fs_squashfs.ids import IdTable
from fledge_fs_squashfs.inodes import seconds
from fledge_fs_squashfs.metadata import MetadataTable
from fledge_fs_squashfs.walk import Folder, Inventory, path_of
from fledge_fs_squashfs.xattrs import XattrTable

_Headers = list[tuple[int, bytes]]
"""Where each header stands in its listing, and the name behind it."""


class DirectoryWriter:
    """Writes the directories of an inventory whose other inodes stand in the inode table already."""

    def __init__(
        self,
        inventory: Inventory,
        ids: IdTable,
        xattrs: XattrTable,
        references: Sequence[int],
        kinds: bytes,
    ) -> None:
        """`references`, `kinds`: of the leaves, in order."""
        self._inventory = inventory
        self._ids = ids
        self._xattrs = xattrs
        self._references = references
        self._kinds = kinds

    def write(self, inodes: MetadataTable, listings: MetadataTable) -> list[int]:
        """Appends all directories. Returns the references of their inodes, by inode number."""
        references: list[int] = []
        for level in reversed(self._inventory.levels):
            written = []
            for folder in level:
                listing, headers = self._listing(folder)
                written.append((listings.position, len(listing), headers))
                listings.append(listing)
            listings.settle()
            positions = []
            for folder, (start, size, headers) in zip(level, written, strict=True):
                positions.append(inodes.position)
                inodes.append(self._inode(folder, listings, start, size, headers))
            inodes.settle()
            for folder, reference in zip(level, inodes.references(positions), strict=True):
                folder.reference = reference
                references.append(reference)
        return references

    def _listing(self, folder: Folder) -> tuple[bytes, _Headers]:
        """The folder's entries, in runs under a header.

        A run's inodes stand in one metadata block and have numbers that differ by no more than 16 signed bits.
        """
        references, kinds = self._references, self._kinds
        pack = fs.DIRECTORY_ENTRY.pack
        parts: list[bytes] = []
        headers: _Headers = []
        size = count = base = header = 0
        block = -1
        for name, child in zip(folder.names, folder.children, strict=True):
            if type(child) is int:
                number, reference, kind = child, references[child - 1], kinds[child - 1]
            else:
                assert isinstance(child, Folder)
                number, reference, kind = child.number, child.reference, fs.TYPE_DIRECTORY
            if reference >> 16 != block or count == fs.DIRECTORY_HEADER_ENTRIES or not -32768 <= number - base <= 32767:
                if count:
                    parts[header] = fs.DIRECTORY_HEADER.pack(count - 1, block, base)
                header, count, block, base = len(parts), 0, reference >> 16, number
                headers.append((size, name))
                parts.append(b"")
                size += fs.DIRECTORY_HEADER.size
            parts.append(pack(reference & 0xFFFF, number - base, kind, len(name) - 1))
            parts.append(name)
            size += 8 + len(name)
            count += 1
        if count:
            parts[header] = fs.DIRECTORY_HEADER.pack(count - 1, block, base)
        return b"".join(parts), headers

    def _inode(self, folder: Folder, listings: MetadataTable, start: int, size: int, headers: _Headers) -> bytes:
        inode = folder.inode
        # The root's parent is a number that no inode has, as mksquashfs writes it.
        parent = folder.parent.number if folder.parent is not None else self._inventory.count + 1
        common = (inode.mode, self._ids[inode.uid], self._ids[inode.gid], seconds(inode.mtime), folder.number)
        links = 2 + folder.subfolders
        reference = listings.reference(start)
        block, offset = reference >> 16, reference & 0xFFFF
        size += fs.LISTING_EXTRA
        index = _index(listings, start, headers)
        if not inode.xattrs and not index and size <= 0xFFFF:
            return fs.DIRECTORY.pack(fs.TYPE_DIRECTORY, *common, block, links, size, offset, parent)
        if size > 0xFFFFFFFF:
            raise BuildError(
                f"{path_of(self._inventory.root.inode, inode)}: its entries take {size} bytes; at most 4 GiB are allowed"
            )
        xattrs = self._xattrs.index(inode) if inode.xattrs else fs.INVALID_32
        head = fs.LDIRECTORY.pack(
            fs.TYPE_DIRECTORY + fs.EXTENDED, *common, links, size, block, parent, len(index), offset, xattrs
        )
        return head + b"".join(index)


def _index(listings: MetadataTable, start: int, headers: _Headers) -> list[bytes]:
    """For each metadata block that the listing reaches into, the first header there: a look-up begins at it."""
    index = []
    for (before, _), (at, name) in pairwise(headers):
        if (start + before) // fs.METADATA_SIZE != (start + at) // fs.METADATA_SIZE:
            block = listings.reference(start + at) >> 16
            index.append(fs.DIRECTORY_INDEX.pack(at, block, len(name) - 1) + name)
    return index[: fs.DIRECTORY_INDEX_MAX]
