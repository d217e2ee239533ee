"""`[agent] source_strategy = "http"`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast
from urllib.parse import urlsplit

from fledge.checksum import Checksum
from fledge.download import download
from fledge.kinds import AgentSource
from fledge.options import Options
from fledge.sources import AgentRequest, FileSource
from pydantic import field_validator


class HttpOptions(Options):
    """The keys of `[agent]` for `http`."""

    url: str
    """Where the binary is: http, https or file."""
    checksum: Checksum | None = None
    """`sha256:<hex>` of the binary. With it, nothing is fetched that the cache has; without it, the log warns."""

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            good = parts.scheme == "file" or (parts.scheme in ("http", "https") and bool(parts.hostname))
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"'{url}' is no URL to fetch; expected http://, https:// or file://")
        return url


class HttpAgent(AgentSource):
    """Downloads the agent from a URL."""

    options_model: ClassVar[type[Options]] = HttpOptions

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        """See AgentSource."""
        options = cast("HttpOptions", self.options)
        return download(
            self.context, options.url, what="the agent", checksum=options.checksum, base_dir=Path(request.base_dir)
        )
