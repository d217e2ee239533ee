"""One image of a registry, as `fledge.image.pull` asks for it (OCI distribution-spec, "Pull")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fledge.errors import BuildError
from fledge.http import origin
from fledge.image.access import BlobNotFoundError, ImageNotFoundError
from fledge.image.descriptor import Descriptor
from fledge.image.documents import ACCEPTED
from fledge.image.fields import DOCUMENT_LIMIT, load_object
from fledge.retry import Attempt, attempts, connection_errors, connection_reason
from fledge.values import Digest

from fledge_transport_registry.auth import Authenticator
from fledge_transport_registry.http import CHUNK, Http, read_all
from fledge_transport_registry.probe import head_digest
from fledge_transport_registry.reference import RegistryReference

if TYPE_CHECKING:
    from requests import Response

PROGRESS: Final = 1 << 20
"""Bytes that a connection must bring for its break not to count against the number of attempts."""

_ACCEPT: Final = {"Accept": ", ".join(ACCEPTED)}
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_ERROR_LIMIT: Final = 64 << 10


class RegistryImage:
    """An `fledge.image.access.ImageAccess`. Safe to use from several threads."""

    def __init__(self, reference: RegistryReference, base: str, http: Http, auth: Authenticator) -> None:
        """`base`: the registry's origin, such as https://ghcr.io."""
        self._reference = reference
        self._base = base
        self._http = http
        self._auth = auth

    def resolve(self) -> Digest | None:
        """The digest of the tag, by a HEAD request: registries that limit pulls don't count those."""
        if self._reference.digest is not None:
            return self._reference.digest
        path = f"manifests/{self._reference.tag}"
        if (digest := head_digest(self._url(path), _ACCEPT)) is not None:
            return digest
        with self._request("HEAD", path, _ACCEPT) as response:
            if response.status_code == 404:
                raise self._no_image(b"")
            told = response.headers.get("Docker-Content-Digest")
            if response.status_code != 200 or told is None:
                return None  # A GET tells more: HEAD has no body for the reason, and not every registry answers it.
        try:
            return Digest.parse(told)
        except ValueError as error:
            raise BuildError(f"{self._reference}: Docker-Content-Digest: {error}") from None

    def manifest(self, digest: Digest | None) -> tuple[str | None, bytes]:
        """See ImageAccess.manifest."""
        what = str(digest or self._reference.tag)
        for attempt in attempts():
            with self._request("GET", f"manifests/{what}", _ACCEPT) as response:
                try:
                    data = read_all(response, DOCUMENT_LIMIT)
                except connection_errors() as error:
                    attempt.failed(f"{self._reference}: manifest {what}: {connection_reason(error)}")
                    continue
            if response.status_code == 404:
                raise self._no_image(data)
            self._expect(response, {200}, f"manifest {what}", data)
            return response.headers.get("Content-Type"), data
        raise AssertionError("the last attempt raises")

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """See ImageAccess.blob. A download that breaks goes on from the byte where it stopped."""
        size, at = descriptor.size, 0
        tries, brought = attempts(), 0
        what = f"{self._reference}: blob {descriptor.digest}"
        while True:
            with self._request(
                "GET", f"blobs/{descriptor.digest}", {"Range": f"bytes={at}-"} if at else {}
            ) as response:
                skip = at - self._begin(response, descriptor, at)
                try:
                    while chunk := response.raw.read(CHUNK):
                        if skip:
                            chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                        at += len(chunk)
                        brought += len(chunk)
                        if at > size:
                            raise BuildError(f"{what} is longer than the {size} bytes that the manifest says")
                        if chunk:
                            yield chunk
                    reason = "the connection was closed"
                except connection_errors() as error:
                    reason = connection_reason(error)
            if at == size:
                return
            if brought >= PROGRESS:
                tries, brought = attempts(), 0
            attempt: Attempt = next(tries)
            attempt.failed(f"{what} broke off after {at} of {size} bytes: {reason}")

    def _begin(self, response: Response, descriptor: Descriptor, at: int) -> int:
        """The offset of the body's first byte, when byte `at` was asked for; raises BuildError for a wrong answer."""
        what = f"blob {descriptor.digest}"
        size = descriptor.size
        self._expect(response, {200, 206} if at else {200}, what)
        begin, end = 0, size
        if response.status_code == 206:
            told = response.headers.get("Content-Range", "")
            match = _CONTENT_RANGE.fullmatch(told)
            if match is None or int(match[1]) != at or int(match[2]) != size - 1 or match[3] not in ("*", str(size)):
                raise BuildError(
                    f"{self._reference}: {what}: Content-Range is {told!r}; asked for bytes {at}-{size - 1}/{size}"
                )
            begin = at
        length = response.headers.get("Content-Length")
        if length is not None and length != str(end - begin):
            raise BuildError(
                f"{self._reference}: {what}: the registry sends {length} bytes; the manifest says {end - begin}"
            )
        return begin

    def _url(self, path: str) -> str:
        return f"{self._base}/v2/{self._reference.repository}/{path}"

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        """The answer after redirects, retries and, once, new authorization."""
        url = self._url(path)
        for renewed in (False, True):
            secret = self._auth.header
            authorization = {"Authorization": secret} if secret is not None else {}
            response = self._http.send(method, url, {**headers, **authorization})
            # A redirect's target must not choose where the registry's credentials go.
            if response.status_code != 401 or renewed or origin(urlsplit(response.url)) != origin(urlsplit(url)):
                break
            with response:
                challenges = response.headers.get("WWW-Authenticate", "")
                again = self._auth.renew(challenges, secret)
                body = b"" if again or method == "HEAD" else _body(response)
            if not again:
                self._expect(response, set(), path.replace("s/", " ", 1), body)
        return response

    def _expect(self, response: Response, statuses: set[int], what: str, body: bytes | None = None) -> None:
        """Raises BuildError for any other status."""
        status = response.status_code
        if status in statuses:
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise BuildError(f"{self._reference}: {what}: Content-Encoding {encoding!r}, though none was asked for")
            return
        with response:
            said = _said(_body(response) if body is None else body)
        message = f"{self._reference}: {what}: {self._reference.host} answered {status}{said}"
        if status in (401, 403):
            raise BuildError(
                f"{message}: there is no such image, or it needs a login", hint=f"docker login {self._reference.host}"
            )
        raise (BlobNotFoundError if status == 404 else BuildError)(message)

    def _no_image(self, body: bytes) -> ImageNotFoundError:
        return ImageNotFoundError(f"{self._reference}: {self._reference.host} has no such image or tag{_said(body)}")


def _body(response: Response) -> bytes:
    try:
        return read_all(response, _ERROR_LIMIT)
    except connection_errors():
        return b""  # It would only have told more about an error.


def _said(body: bytes) -> str:
    """The first message of a registry's error document (distribution-spec, "Error Codes"), if it is one."""
    try:
        errors = load_object(body, "the answer", _ERROR_LIMIT).objects("errors")
        text = errors[0].text("message") if errors else None
    except BuildError:
        return ""
    return f" ({' '.join(text.split())[:200]})" if text else ""
