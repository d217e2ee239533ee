"""What every agent source must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.kinds import AgentSource
from fledge.sources import AgentRequest, FileSource, ImageReference, ImageRequest
from fledge.testing.conformance.driver import DriverConformance, only_if, refusal
from fledge.testing.project import PLATFORM, PROGRAM
from fledge.values import Digest, Platform

OTHER_PLATFORM = "linux/arm64" if PLATFORM == "linux/amd64" else "linux/amd64"

Offer = Callable[[bytes | None], Mapping[str, Any]]


class AgentConformance(DriverConformance):
    """Fetches a program that the subclass offers, and does not fetch others."""

    checksum_option: ClassVar[str | None] = None
    """The option that says the binary's digest (`sha256:...`), if there is one."""

    kind = "agent"
    base = AgentSource
    hook = "fetch_source"

    @pytest.fixture
    def offer(self) -> Offer:
        """Overridden: makes a binary available to the source, or none, and gives the options that lead there."""
        pytest.fail(f"{type(self).__name__} has no fixture 'offer'")

    def fetch(
        self, build: BuildContext, options: Mapping[str, Any], folder: Path, platform: str = PLATFORM
    ) -> FileSource:
        """What the hook gives a strategy. `folder`: that of fledge.toml."""
        driver = self.driver(self.name, self.parse({**self.options, **options}), build)
        source = driver.fetch_source(None, AgentRequest(self.name, Platform.parse(platform), str(folder)))
        assert isinstance(source, FileSource)
        return source

    def test_the_binary_arrives(self, offer: Offer, fledge_context: BuildContext, tmp_path: Path) -> None:
        """Every byte, and its digest; `origin` tells where it is from."""
        binary = PROGRAM + bytes(range(256)) * 5000
        options = offer(binary)
        for _ in range(2):  # The second time from the cache, where there is one.
            source = self.fetch(fledge_context, options, tmp_path)
            assert source.content.read() == binary
            assert source.digest == Digest.of(binary)
            assert source.origin

    def test_another_architecture_is_refused(self, offer: Offer, fledge_context: BuildContext, tmp_path: Path) -> None:
        """The guest could not start it, and would say so at its first boot."""
        options = offer(PROGRAM)
        refusal(lambda: self.fetch(fledge_context, options, tmp_path, OTHER_PLATFORM), BuildError)

    def test_what_is_no_program_is_refused(self, offer: Offer, fledge_context: BuildContext, tmp_path: Path) -> None:
        """Such as the page of a proxy, or nothing."""
        for binary in (b"", b"<html>Please sign in</html>"):
            options = offer(binary)
            refusal(lambda options=options: self.fetch(fledge_context, options, tmp_path), BuildError)  # type: ignore[misc]

    def test_nothing_to_fetch_is_an_error(self, offer: Offer, fledge_context: BuildContext, tmp_path: Path) -> None:
        """And nothing half done is left in the store."""
        options = offer(None)
        refusal(lambda: self.fetch(fledge_context, options, tmp_path), BuildError)
        assert list(fledge_context.store.folder.glob("tmp/*")) == []

    @only_if(lambda cls: cls.checksum_option)
    def test_a_wrong_checksum_is_an_error(self, offer: Offer, fledge_context: BuildContext, tmp_path: Path) -> None:
        """A pinned binary is that one or none, also when the cache has it."""
        assert self.checksum_option is not None
        options = offer(PROGRAM)
        right = {**options, self.checksum_option: str(Digest.of(PROGRAM))}
        wrong = {**options, self.checksum_option: str(Digest.of(b"another"))}
        refusal(lambda: self.fetch(fledge_context, wrong, tmp_path), BuildError)
        assert self.fetch(fledge_context, right, tmp_path).content.read() == PROGRAM
        refusal(lambda: self.fetch(fledge_context, wrong, tmp_path), BuildError)

    def test_it_answers_to_its_name_only(self, offer: Offer, fledge_context: BuildContext) -> None:
        """All drivers of a build are asked, and one has to answer."""
        driver = self.driver(self.name, self.parse({**self.options, **offer(PROGRAM)}), fledge_context)
        platform = Platform.parse(PLATFORM)
        assert driver.fetch_source(None, AgentRequest("another", platform)) is None
        assert driver.fetch_source(None, ImageRequest(ImageReference(self.name, "x"), platform)) is None
