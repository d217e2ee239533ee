"""The part of GitHub's REST API that tells what a release holds (docs.github.com/rest/releases)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fledge.download import download
from fledge.errors import BuildError
from fledge.http import get_bytes
from fledge.values import Digest

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.sources import FileSource

PUBLIC_API: Final = "https://api.github.com"
LIMIT: Final = 8 << 20
"""Bytes of a release's description and of a checksums file."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a release. `digest`: what GitHub has computed; it does so since June 2025."""

    number: int
    name: str
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Release:
    """A published release."""

    tag: str
    assets: tuple[Asset, ...]


class GitHub:
    """One repository's releases, through the API at `FLEDGE_GITHUB_API`, with `GITHUB_TOKEN` where that is set."""

    def __init__(self, context: BuildContext, repository: str) -> None:
        self._context = context
        self._repository = repository
        base = context.environ.get("FLEDGE_GITHUB_API") or PUBLIC_API
        self._url = f"{base.rstrip('/')}/repos/{repository}/releases"
        self._token = context.environ.get("GITHUB_TOKEN")

    def release(self, tag: str | None) -> Release:
        """The release with this tag; None: the one that the repository calls its latest.

        Raises BuildError when there is none or the API does not answer as it should.
        """
        url = f"{self._url}/latest" if tag is None else f"{self._url}/tags/{quote(tag, safe='')}"
        what = f"the latest release of {self._repository}" if tag is None else f"release {tag} of {self._repository}"

        def hint(status: int, headers: Mapping[str, str]) -> str | None:
            if status == 404 and tag is not None and not tag.startswith("v"):
                return f"tags often begin with v: is there a v{tag}?"
            return self._hint(status, headers)

        data = get_bytes(url, LIMIT, what=what, headers=self._headers("application/vnd.github+json"), hint=hint)
        return _release(data, f"{what} ({url})")

    def asset(self, asset: Asset, what: str, checksum: Digest | None) -> FileSource:
        """An asset's bytes; only a checksum makes the store's copy good enough."""
        # Not the URL of the description: a mirror may hand on GitHub's, and the token is for the API that was named.
        return download(
            self._context,
            f"{self._url}/assets/{asset.number}",
            what=what,
            checksum=checksum,
            headers=self._headers("application/octet-stream"),
            hint=self._hint,
            warn=False,
        )

    def small_asset(self, asset: Asset) -> bytes:
        """An asset's bytes at once, at most 8 MiB."""
        url = f"{self._url}/assets/{asset.number}"
        return get_bytes(
            url, LIMIT, what=asset.name, headers=self._headers("application/octet-stream"), hint=self._hint
        )

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "X-GitHub-Api-Version": "2022-11-28"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _hint(self, status: int, headers: Mapping[str, str]) -> str | None:
        if status in (403, 429):
            if self._token:
                return "the rate limit of GITHUB_TOKEN may be used up, or it may not read this repository"
            return "GitHub limits anonymous requests: set GITHUB_TOKEN, or pin a version and its checksum"
        if status == 401:
            return "GITHUB_TOKEN is not valid"
        return None


def _release(data: bytes, what: str) -> Release:
    try:
        document: dict[str, Any] = json.loads(data)
        assets = tuple(
            Asset(int(asset["id"]), str(asset["name"]), _digest(asset.get("digest"))) for asset in document["assets"]
        )
        return Release(str(document["tag_name"]), assets)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BuildError(f"{what} is not described as GitHub's API does", hint="check FLEDGE_GITHUB_API") from error


def _digest(text: object) -> Digest | None:
    """Raises ValueError for a digest that is there but malformed: verification is never skipped in silence."""
    return None if text is None else Digest.parse(text)
