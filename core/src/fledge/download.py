"""One file into the store, verified: agents, busybox, kernels."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from fledge.errors import BuildError
from fledge.http import Hint, body, get, no_hint
from fledge.sources import FileSource
from fledge.tree.content import Content, HostFileSource
from fledge.tree.content import FileSource as Blob
from fledge.values import Digest

if TYPE_CHECKING:
    from requests import Response

    from fledge.atomic import PartFile
    from fledge.context import BuildContext
    from fledge.progress import Stage

LIMIT: Final = 1 << 30
"""Bytes; more than any agent or busybox has."""


def download(
    context: BuildContext,
    url: str,
    *,
    what: str,
    checksum: Digest | None = None,
    limit: int = LIMIT,
    headers: Mapping[str, str] | None = None,
    hint: Hint = no_hint,
    base_dir: Path = Path(),
    warn: bool = True,
) -> FileSource:
    """Fetches `what` ("the agent") from http(s), `file://` or a path, verified against the checksum.

    With a checksum, what the store has is verified again and used without asking anybody. Without one, the
    server is asked each time whether the copy in the store is still current, and a warning (unless `warn` is
    false) gives the checksum to pin. `headers` may hold an Authorization, which stays on the URL's host. A path is
    relative to `base_dir`.

    Raises BuildError when the file can't be had, is larger than `limit` bytes, or has another digest; it is not
    kept then.
    """
    try:
        parts = urlsplit(url)
        scheme, _ = parts.scheme, parts.port
    except ValueError as error:
        raise BuildError(f"can't fetch {what} from {url!r}: {error}") from error
    if scheme in ("http", "https"):
        found = stored(context, checksum, url) if checksum else None
        if found is None:
            found = _Transfer(context, url, what, checksum, limit, dict(headers or {})).run(hint)
    elif scheme == "file":
        found = host_file(_local_path(url, what), what=what, checksum=checksum, limit=limit)
    elif "://" not in url:
        found = host_file(base_dir / url, what=what, checksum=checksum, limit=limit)
    else:
        raise BuildError(f"can't fetch {what} from {url}: http, https, file and plain paths are allowed")
    if checksum is None and warn:
        context.progress.warning(
            f'{what} from {_shown(url)} is used unverified; pin it with checksum = "{found.digest}"'
        )
    return found


def stored(context: BuildContext, digest: Digest, origin: str) -> FileSource | None:
    """A blob of the store, hashed again; None when it is not there or not itself any more."""
    path = context.store.blob_path(digest)
    try:
        with open(path, "rb") as file:
            good = hashlib.file_digest(file, digest.algorithm).hexdigest() == digest.hex
    except FileNotFoundError:
        return None
    return FileSource(Content.whole(Blob(path)), digest, _shown(origin)) if good else None


def host_file(path: Path, *, what: str, checksum: Digest | None = None, limit: int = LIMIT) -> FileSource:
    """A regular file of this machine, read where it stands and verified against the checksum.

    Raises BuildError when it is missing, unreadable, not a regular file, or not what the checksum says.
    """
    try:
        # O_NONBLOCK: a FIFO must be refused, not waited for.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise BuildError(f"{what} {path} is not a regular file")
        with open(fd, "rb") as file:
            if status.st_size > limit:
                raise BuildError(f"{what} {path} has {status.st_size} bytes; at most {limit} are allowed")
            content = Content.whole(HostFileSource(path, status))
            algorithm = checksum.algorithm if checksum else "sha256"
            digest = Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())
    except OSError as error:
        raise BuildError(f"can't read {what} {path}: {error.strerror}") from error
    if checksum and digest != checksum:
        raise _mismatch(what, str(path), digest, checksum)
    return FileSource(content, digest, str(path))


class _Transfer:
    """One download over http(s), through as many attempts as it takes."""

    def __init__(
        self,
        context: BuildContext,
        url: str,
        what: str,
        checksum: Digest | None,
        limit: int,
        headers: Mapping[str, str],
    ) -> None:
        self._context = context
        self._url = url
        self._shown = _shown(url)
        self._what = what
        self._checksum = checksum
        self._limit = limit
        self._headers = headers
        self._algorithm = checksum.algorithm if checksum else "sha256"
        self._hash = hashlib.new(self._algorithm)
        self._done = 0
        self._etag = ""
        """Of what has arrived so far; only a strong one names the same bytes (RFC 9110 section 8.8.3)."""

    def run(self, hint: Hint) -> FileSource:
        known = self._known_version() if self._checksum is None else None
        with (
            self._context.progress.stage(f"download {self._what}") as stage,
            self._context.store.part("download") as part,
        ):

            def headers() -> dict[str, str]:
                if self._done and self._etag:
                    return {**self._headers, "Range": f"bytes={self._done}-", "If-Range": self._etag}
                return {**self._headers, "If-None-Match": known[0]} if known else dict(self._headers)

            digest = get(
                self._url,
                lambda response: self._receive(response, part, stage),
                what=self._what,
                headers=headers,
                hint=hint,
            )
            if digest is None and known is not None:
                return known[1]
            if digest is None:
                raise BuildError(f"can't fetch {self._what} from {self._shown}: 304 without having asked for it")
            path = self._context.store.keep(part, "blobs", digest.algorithm, digest.hex)
        if self._checksum is None and self._etag:
            fact = json.dumps({"etag": self._etag, "digest": str(digest)})
            self._context.store.put(fact.encode(), "links", "download", self._key())
        return FileSource(Content.whole(Blob(path)), digest, self._shown)

    def _receive(self, response: Response, part: PartFile, stage: Stage) -> Digest | None:
        """The digest of the whole file; None for 304."""
        if response.status_code == 304:
            return None
        if response.status_code == 206:
            sent = response.headers.get("Content-Range", "")
            if not sent.startswith(f"bytes {self._done}-"):
                raise BuildError(f"{self._shown} answers a request for bytes from {self._done} with {sent!r}")
        else:
            self._done = 0
            self._hash = hashlib.new(self._algorithm)
            os.ftruncate(part.fd, 0)
        length = response.headers.get("Content-Length", "")
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') and length.isdigit() else ""
        stage.total = self._done + int(length) if length.isdigit() else None
        if (stage.total or 0) > self._limit:
            raise self._too_large()
        stage.advance(self._done - stage.done)
        for block in iter(body(response), b""):
            if self._done + len(block) > self._limit:
                raise self._too_large()
            self._write(part, block)
            self._hash.update(block)
            self._done += len(block)
            stage.advance(len(block))
        digest = Digest(self._algorithm, self._hash.hexdigest())
        if self._checksum and digest != self._checksum:
            raise _mismatch(self._what, self._shown, digest, self._checksum)
        return digest

    def _write(self, part: PartFile, block: bytes) -> None:
        with self._context.store.writing():
            at = self._done
            view = memoryview(block)
            while view:
                count = os.pwrite(part.fd, view, at)
                at += count
                view = view[count:]

    def _known_version(self) -> tuple[str, FileSource] | None:
        """What an earlier build got from this URL, and the ETag it had."""
        try:
            fact = json.loads(self._context.store.path("links", "download", self._key()).read_bytes())
            etag, digest = fact["etag"], Digest.parse(fact["digest"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        blob = stored(self._context, digest, self._url)
        return (etag, blob) if blob else None

    def _key(self) -> str:
        return hashlib.sha256(self._url.encode()).hexdigest()

    def _too_large(self) -> BuildError:
        return BuildError(f"{self._what} from {self._shown} has more than the {self._limit} bytes that are allowed")


def _mismatch(what: str, origin: str, digest: Digest, checksum: Digest) -> BuildError:
    return BuildError(
        f"{what} from {origin} has the digest {digest}; {checksum} was expected",
        hint="if the file was meant to change, pin the new digest",
    )


def _local_path(url: str, what: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise BuildError(f"can't fetch {what} from {url}: a file:// URL has no host; write file:///path")
    return Path(unquote(parts.path))


def _shown(url: str) -> str:
    """Without the user and password that it may have."""
    parts = urlsplit(url)
    return url.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1) if "@" in parts.netloc else url
