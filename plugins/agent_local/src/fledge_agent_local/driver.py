"""`[agent] source_strategy = "local"`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

from fledge.download import host_file
from fledge.kinds import AgentSource
from fledge.options import Options
from fledge.sources import AgentRequest, FileSource
from pydantic import Field


class LocalOptions(Options):
    """The keys of `[agent]` for `local`."""

    path: str = Field(min_length=1)
    """The binary on this machine; relative paths start at the folder of fledge.toml."""


class LocalAgent(AgentSource):
    """Takes the agent from a file of this machine."""

    options_model: ClassVar[type[Options]] = LocalOptions

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        """See AgentSource."""
        options = cast("LocalOptions", self.options)
        return host_file(Path(request.base_dir) / options.path, what="the agent")
