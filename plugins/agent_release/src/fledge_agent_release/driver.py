"""`[agent] source_strategy = "release"`, the default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Final, cast

from fledge.download import stored
from fledge.errors import BuildError
from fledge.kinds import AgentSource
from fledge.options import Options
from fledge.sources import AgentRequest, FileSource
from fledge.values import Digest, Platform

from fledge_agent_release.github import Asset, GitHub, Release
from fledge_agent_release.options import LATEST, ReleaseOptions

PROGRAM: Final = "kestrel"
UNNAMED_ARCHITECTURE: Final = "amd64"
"""Of an asset that is called `kestrel` and no more, as Volant's are."""

_ALIASES: Final = {"amd64": ("amd64", "x86_64"), "arm64": ("arm64", "aarch64")}
_CHECKSUM_FILES: Final = ("checksums.txt", "sha256sums", "sha256sums.txt", "sha256sum.txt")


class ReleaseAgent(AgentSource):
    """Downloads kestrel from a release on GitHub."""

    options_model: ClassVar[type[Options]] = ReleaseOptions

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        """See AgentSource. The log gives the checksum to pin."""
        options = cast("ReleaseOptions", self.options)
        if options.checksum is not None:
            known = stored(self.context, options.checksum, f"{options.repository} {options.version}")
            if known is not None:
                return known
        github = GitHub(self.context, options.repository)
        release = github.release(None if options.version == LATEST else options.version)
        asset = choose(release, request.platform, options.repository)
        checksum = options.checksum or asset.digest or _listed(github, release, asset)
        source = github.asset(asset, f"{PROGRAM} {release.tag}", checksum)
        self._report(options, release, asset, source, verified=checksum is not None)
        return replace(
            source,
            origin=f"{options.repository} {release.tag} {asset.name}",
            labels={"repository": options.repository, "version": release.tag, "asset": asset.name},
        )

    def _report(
        self, options: ReleaseOptions, release: Release, asset: Asset, source: FileSource, *, verified: bool
    ) -> None:
        text = f"agent: {asset.name} of {options.repository} {release.tag}, {source.digest}"
        if not verified:
            self.context.progress.warning(
                f'{text}, unverified: the release has no digest; pin it with checksum = "{source.digest}"'
            )
        elif options.checksum is None:
            self.context.progress.info(f'{text}; pin it with version = "{release.tag}", checksum = "{source.digest}"')
        else:
            self.context.progress.info(text)


def choose(release: Release, platform: Platform, repository: str) -> Asset:
    """The asset that is the program for this platform, by its name; `_` and `-` are the same, and so is case.

    In this order: `kestrel-linux-amd64`, `kestrel-amd64`, with each name that the architecture goes by, then
    `kestrel` alone, which is for amd64. Raises BuildError, listing what the release has, when none fits.
    """
    by_name = {_plain(asset.name): asset for asset in release.assets}
    architectures = _ALIASES.get(platform.architecture, (platform.architecture,))
    names = [f"{PROGRAM}-{platform.os}-{architecture}" for architecture in architectures]
    names += [f"{PROGRAM}-{architecture}" for architecture in architectures]
    if platform.architecture == UNNAMED_ARCHITECTURE:
        names.append(PROGRAM)
    for name in names:
        asset = by_name.get(_plain(name))
        if asset is not None:
            return asset
    there = ", ".join(sorted(asset.name for asset in release.assets)) or "none"
    raise BuildError(
        f"release {release.tag} of {repository} has no {PROGRAM} for {platform}; its assets: {there}",
        hint='name another version, or the file itself with source_strategy = "http"',
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _listed(github: GitHub, release: Release, asset: Asset) -> Digest | None:
    """The asset's sha256 from the release's own list of checksums."""
    for file in release.assets:
        of_this_asset = file.name.lower() == f"{asset.name}.sha256".lower()
        if of_this_asset or file.name.lower() in _CHECKSUM_FILES:
            for checksum, name in _checksum_lines(github.small_asset(file)):
                if name == asset.name or (of_this_asset and not name):
                    try:
                        return Digest.parse(f"sha256:{checksum}")
                    except ValueError:
                        raise BuildError(f"{file.name} of release {release.tag} has no sha256: {checksum!r}") from None
    return None


def _checksum_lines(data: bytes) -> Iterator[tuple[str, str]]:
    """Checksum and file name, in the form that sha256sum(1) prints; without a name in a file for one asset."""
    for line in data.decode("utf-8", "replace").splitlines():
        checksum, _, name = line.strip().partition(" ")
        yield checksum.lower(), name.strip().removeprefix("*").removeprefix("./")
