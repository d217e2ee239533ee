"""What the command line and the environment say about any build."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fledge.errors import Problem
from fledge.values import Platform

_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm/v7",
    "i686": "386",
    "loongarch64": "loong64",
}
"""uname(2)'s machine -> GOARCH, where they differ."""

_LAST_EPOCH: Final = (2**63 - 1) // 10**9
"""The last second whose nanoseconds a signed 64-bit integer holds: the year 2262."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked flags and environment."""

    platform: Platform
    output: Path | None
    artifact_url: str | None
    epoch: int | None


def settle(
    output: Path | None,
    artifact_url: str | None,
    platform: str | None,
    environ: Mapping[str, str],
    problems: list[Problem],
) -> Settings:
    """Adds what is wrong to `problems`; the value stands in then for the default."""
    return Settings(
        platform=_platform(platform, problems),
        output=output.absolute() if output is not None else None,
        artifact_url=_url(artifact_url, problems),
        epoch=_epoch(environ.get("SOURCE_DATE_EPOCH"), problems),
    )


def this_platform() -> Platform:
    """This machine's."""
    machine = os.uname().machine
    return Platform.parse(f"linux/{_ARCHITECTURES.get(machine, machine)}")


def _platform(text: str | None, problems: list[Problem]) -> Platform:
    if text is None:
        return this_platform()
    try:
        platform = Platform.parse(text)
    except ValueError as error:
        problems.append(Problem("--platform", "", str(error)))
        return this_platform()
    if platform.os != "linux":
        problems.append(Problem("--platform", "", f"{text!r} is not Linux; allowed: linux/amd64, linux/arm64"))
    return platform


def _url(text: str | None, problems: list[Problem]) -> str | None:
    # What Volant fetches from (internal/imagespec): http(s), file, or an absolute path of its host.
    if text is not None and not re.match(r"(https?|file)://[^/]*/?\S|/\S", text):
        problems.append(Problem("--artifact-url", "", f"{text!r} is not a URL with https://, http:// or file://"))
    return text


def _epoch(text: str | None, problems: list[Problem]) -> int | None:
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,20}", text) is None or int(text) > _LAST_EPOCH:
        problems.append(
            Problem("SOURCE_DATE_EPOCH", "", f"{text!r} is not a number of seconds; allowed: 0 to {_LAST_EPOCH}")
        )
        return None
    return int(text)
