"""One COPY or ADD, settled."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from fledge.context import BuildContext
from fledge.download import download
from fledge.errors import BuildError
from fledge.sources import FileSource
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import Digest

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.archive import extract, is_archive, read_archive
from fledge_builder_microvm.changes import Change
from fledge_builder_microvm.copying import NOTHING, Found, Manner, copy, find_sources, guest_path, is_name, text_of
from fledge_builder_microvm.edit import Edit
from fledge_builder_microvm.fingerprints import outline
from fledge_builder_microvm.origins import Origin
from fledge_builder_microvm.owners import find_owner
from fledge_builder_microvm.patterns import IgnoreRules
from fledge_builder_microvm.words import Words

_GIT: Final = ("git://", "git@", "ssh://")
_WEB: Final = ("http://", "https://")
_DOWNLOAD_MODE: Final = 0o600


class CopyStep:
    """Knows its key before anything is copied, and then makes the changes."""

    def __init__(
        self,
        instruction: ins.Copy,
        words: Words,
        variables: Mapping[str, str],
        workdir: str,
        origin: Origin,
        context: BuildContext,
        epoch: int,
    ) -> None:
        """Raises BuildError for a source that is not in the build context, or a flag's value that can't be."""

        def expand(text: str) -> str:
            return words.expand(text, variables)

        self._context = context
        self._origin = origin
        self._epoch = epoch
        self._is_add = instruction.is_add
        destination = expand(instruction.destination)
        self._into = destination.endswith(("/", "/.")) or destination in ("", ".")
        self._destination = guest_path(posixpath.join(workdir, destination))
        self._sources = [expand(source) for source in instruction.sources]
        self._owner = None if instruction.owner is None else expand(instruction.owner)
        self._mode = None if instruction.mode is None else _mode(expand(instruction.mode))
        self._exclude = [expand(pattern) for pattern in instruction.exclude]
        self._checksum = None if instruction.checksum is None else _checksum(expand(instruction.checksum))
        self._documents = [
            (heredoc.name, words.expand_document(heredoc.content, variables) if heredoc.expand else heredoc.content)
            for heredoc in instruction.heredocs
        ]
        for name, _ in self._documents:
            if not is_name(name.encode()):
                raise BuildError(f"the heredoc's name {name!r} can't be a file's")
        self._downloads = {source: self._download(source) for source in self._sources if self._is_remote(source)}
        if self._checksum is not None and not self._downloads:
            raise BuildError("--checksum is for downloads, and no source is one")
        self._found: dict[str, list[Found]] = {}
        if origin.diff_ids is None:
            for source in self._sources:
                if source not in self._downloads:
                    self._found[source] = self._find(source)

    def settled(self) -> tuple[Sequence[Any], Sequence[Content]]:
        """What the step depends on beside the layers below: all but what is in the files of the build context, and that."""
        contents: list[Content] = []
        if self._origin.diff_ids is not None:
            copied: Any = self._origin.diff_ids, self._origin.epoch, self._sources
        else:
            copied = []
            for source in self._sources:
                if source in self._downloads:
                    copied.append([str(self._downloads[source].digest), source])
                    continue
                outlines = [(found.name.hex(), outline(found.inode)) for found in self._found[source]]
                copied.append([[name, one.digest] for name, one in outlines])
                contents += [content for _, one in outlines for content in one.contents]
        manner = [self._owner, self._mode, self._exclude, self._is_add, self._epoch]
        return ("COPY", text_of(self._destination), self._into, copied, self._documents, manner), contents

    def changes(self, tree: Tree) -> Sequence[Change]:
        """Copies into `tree`, which is changed. Raises BuildError."""
        edit = Edit(tree)
        owner = None if self._owner is None else find_owner(self._owner, tree)
        try:
            manner = Manner(owner, self._mode, IgnoreRules.of(self._exclude, "--exclude") if self._exclude else NOTHING)
        except ValueError as error:
            raise BuildError(str(error)) from None
        found = [(source, one) for source in self._sources for one in self._named(source)]
        documents = [
            self._file(name, Content.of(text.encode("utf-8", "surrogateescape")), 0o644)
            for name, text in self._documents
        ]
        count = len(found) + len(documents)
        if count > 1 and not self._into and not self._is_directory(edit):
            raise BuildError(
                f"{count} files or folders, but the destination {self._destination} does not end with / and is no directory"
            )
        for source, one in found:
            self._copy(edit, one, source, manner)
        for document in documents:
            copy(edit, document, self._destination, into=self._into, manner=manner)
        return edit.changes()

    def _named(self, source: str) -> list[Found]:
        if source in self._downloads:
            return [self._file(_url_name(source), self._downloads[source].content, _DOWNLOAD_MODE)]
        return self._found[source] if source in self._found else self._find(source)

    def _file(self, name: str, content: Content, mode: int) -> Found:
        return Found(name.encode(), File(content, mode, mtime=self._epoch))

    def _copy(self, edit: Edit, found: Found, source: str, manner: Manner) -> None:
        inode = found.inode
        if self._is_add and source not in self._downloads and isinstance(inode, File) and is_archive(inode.content):
            if manner.mode is not None:
                raise BuildError(f"--chmod can't be given for {source!r}, an archive that is extracted")
            if manner.owner is not None:
                self._context.progress.warning(f"--chown does not change the owners that the archive {source!r} holds")
            folder = edit.make_folders(self._destination, *(manner.owner or (0, 0)))
            archive = read_archive(inode.content, self._context.store, f"{source!r}", self._epoch)
            extract(edit, archive, folder)
            return
        copy(edit, found, self._destination, into=self._into, manner=manner)

    def _is_directory(self, edit: Edit) -> bool:
        return isinstance(edit.tree.at(edit.tree.resolve(self._destination)), Directory)

    def _is_remote(self, source: str) -> bool:
        if not self._is_add:
            return False
        if source.startswith(_GIT) or (source.startswith(_WEB) and urlsplit(source).path.endswith(".git")):
            raise BuildError(f"{source}: git repositories can't be added", hint="clone it into the build context")
        return source.startswith(_WEB)

    def _download(self, url: str) -> FileSource:
        if not self._into and not self._destination.parts:
            raise BuildError(f"{url}: the destination / needs the name of a file")
        if self._into and not is_name(_url_name(url).encode()):
            raise BuildError(f"{url}: it does not end with a file's name; give one in the destination")
        found = download(self._context, url, what=url, checksum=self._checksum, warn=False)
        if self._checksum is None:
            self._context.progress.warning(f"{url} is used unverified; pin it with --checksum={found.digest}")
        return found

    def _find(self, source: str) -> list[Found]:
        found = find_sources(self._origin, source)
        if not found:
            self._context.progress.warning(f"nothing in {self._origin.where} matches {source!r}")
        return found


def _url_name(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _mode(text: str) -> int:
    if not text or text.strip("01234567") or int(text, 8) > 0o7777:
        raise BuildError(f"--chmod={text} is not a mode; octal digits from 0 to 7777 are allowed")
    return int(text, 8)


def _checksum(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise BuildError(f"--checksum: {error}") from None
