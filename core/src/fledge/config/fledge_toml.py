"""The part of fledge.toml that core owns; the rest of each table belongs to the driver that the table names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Destination = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^/(?!(.*/)?\.\.(/|$))"})]
"""Checked by fledge.config.mappings, which knows more: two to one destination, and lengths."""

Mappings = Annotated[dict[str, Destination], Field(json_schema_extra={"propertyNames": {"minLength": 1}})]


class _Table(BaseModel):
    """A table with keys of a driver beside core's."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)


class AgentTable(_Table):
    """The agent that goes into the image as `/bin/kestrel`. Left out: `release`, `latest`."""

    source_strategy: str | None = None
    """Where the agent comes from; `none`: no agent, the guest's init runs the workload itself."""


class FilesystemTable(_Table):
    """The artifact's filesystem."""

    type: str | None = None
    """The filesystem. Default: what the strategy prefers."""
    mappings: Mappings = Field(default_factory=dict)
    """The same as the table `[mappings]`."""


class FledgeToml(_Table):
    """fledge.toml."""

    version: Literal["1"]
    """The version of this format."""
    strategy: str | None = None
    """How the image is made."""
    agent: AgentTable | None = None
    filesystem: FilesystemTable | None = None
    mappings: Mappings = Field(default_factory=dict)
    """Files and folders of the host, and where they go in the guest: `"host path" = "/guest/path"`.

    Host paths are relative to the folder of fledge.toml. A destination that ends in `/` takes the file under its
    own name.
    """
