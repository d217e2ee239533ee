"""ADD's archives: a local tar, compressed or not, is extracted."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fledge.errors import BuildError
from fledge.store import Store
from fledge.tree.content import Content, FileSource
from fledge.tree.decompress import BLOCK as BLOCK_SIZE
from fledge.tree.decompress import decompress
from fledge.tree.index import DIRECTORY, LayerIndex
from fledge.tree.inode import Directory
from fledge.tree.layer import Layer
from fledge.tree.merge import merge
from fledge.tree.tar import TarReader
from fledge.tree.tar_format import BLOCK, HEADER, expected_sum
from fledge.tree.tar_names import WHITEOUT
from fledge.values import Digest, GuestPath, show_path

from fledge_builder_microvm.edit import Edit, Folder

_HEAD: Final = 1 << 16
_UNNAMED: Final = Digest("sha256", "0" * 64)
"""An archive is no layer of an image, and nobody asks for its digest."""
_OTHERS: Final[dict[bytes, Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]]] = {
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
}


def is_archive(content: Content) -> bool:
    """Whether a file is one that ADD extracts: decompressed, it begins with a tar's header, whatever it is called."""
    if not content.size:
        return False
    head = b""
    try:
        for block in _decompressed(content, ""):
            head += block
            if len(head) >= BLOCK:
                break
    except BuildError:
        return False
    if len(head) < BLOCK or not head[:BLOCK].strip(b"\0"):
        return False
    chksum = HEADER.unpack_from(head)[4]
    block = head[:BLOCK]
    try:
        return expected_sum(chksum) == sum(block)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds. `listed`: the folders that have an entry, with what it says of them."""

    top: Directory
    listed: frozenset[bytes]


def read_archive(content: Content, store: Store, label: str, epoch: int) -> Archive:
    """Reads an archive; decompressed, it is kept in the store for as long as something refers to it.

    Raises BuildError where it is not sound, or has a name that no image can hold.
    """
    reader = TarReader(label)
    with store.part("archive") as part:
        for block in _decompressed(content, label):
            reader.feed(block)
            with store.writing():
                part.write(block)
        index = reader.finish()
        _check_names(index, label)
        # Mapped, the bytes stay there when the file's name is gone.
        layer = Layer(_UNNAMED, FileSource(part.path), index)
    try:
        top = merge([layer], epoch)
    except BuildError as error:
        raise BuildError(error.message.replace(f"layer {_UNNAMED}", label)) from None
    kinds = (record[0] for record in index.records())
    return Archive(top, frozenset(path for path, kind in zip(index.paths, kinds, strict=True) if kind == DIRECTORY))


def extract(edit: Edit, archive: Archive, folder: Folder) -> None:
    """Puts what the archive holds into a folder, as Docker's Untar does.

    What stands in an entry's way is replaced, unless both are directories. A folder that no entry lists and that is a
    symlink in the tree is followed.
    """
    todo = [(archive.top, b"", folder)]
    while todo:
        source, relative, folder = todo.pop()
        if folder.prefix:
            # An entry may have taken the place of this folder, if a symlink led to it.
            folder = edit.make_folders(GuestPath(tuple(folder.prefix[:-1].split(b"/"))))
        for name, inode in sorted(source.entries.items()):
            path = relative + name
            if not isinstance(inode, Directory):
                edit.put(folder, name, inode)
            elif path in archive.listed:
                todo.append((inode, path + b"/", _put_directory(edit, folder, name, inode)))
            else:
                below = GuestPath(tuple((folder.prefix + name).split(b"/")))
                todo.append((inode, path + b"/", edit.make_folders(below)))


def _put_directory(edit: Edit, folder: Folder, name: bytes, inode: Directory) -> Folder:
    if not isinstance(folder.directory.entries.get(name), Directory):
        edit.put(folder, name, Directory(0))
    entered = edit.enter(folder, name)
    there = entered.directory
    there.mode, there.uid, there.gid = inode.mode, inode.uid, inode.gid
    there.mtime, there.xattrs = inode.mtime, inode.xattrs
    return entered


def _check_names(index: LayerIndex, label: str) -> None:
    for path in index.paths:
        if b"/" + WHITEOUT in b"/" + path:
            raise BuildError(f"{label}: entry '{show_path(path)}': a name in an image can't begin with .wh.")


def _decompressed(content: Content, label: str) -> Iterator[bytes]:
    chunks = (bytes(chunk) for chunk in content.chunks(_HEAD))
    head = next(chunks, b"")
    for magic, make in _OTHERS.items():
        if head.startswith(magic):
            return _other(make, head, chunks, label)
    return decompress(_with(head, chunks), label)


def _with(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def _other(
    make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], head: bytes, chunks: Iterator[bytes], label: str
) -> Iterator[bytes]:
    """bzip2 and xz: streams that follow each other, and zeros between those of xz."""
    decompressor = make()
    try:
        for chunk in _with(head, chunks):
            data = chunk
            while data or not (decompressor.eof or decompressor.needs_input):
                if decompressor.eof:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    decompressor = make()
                if block := decompressor.decompress(data, BLOCK_SIZE):
                    yield block
                data = decompressor.unused_data if decompressor.eof else b""
    except (OSError, lzma.LZMAError) as error:
        raise BuildError(f"{label}: the compressed stream is damaged: {error}") from None
    if not decompressor.eof:
        raise BuildError(f"{label}: the compressed stream is cut short")
