"""Agent sources with one mistake each, and the checks of the kit that must find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

from fledge.checksum import Checksum
from fledge.download import download
from fledge.hookspecs import hookimpl
from fledge.kinds import AgentSource
from fledge.options import Options
from fledge.sources import AgentRequest, FileSource
from fledge.tree.content import Content
from fledge.values import Digest


class GoodOptions(Options):
    path: str = "agent"
    """The binary."""
    checksum: Checksum | None = None
    """Its digest."""


class Good(AgentSource):
    """No mistake."""

    caught_by: ClassVar[frozenset[str]] = frozenset()
    options_model: ClassVar[type[Options]] = GoodOptions

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        options = cast("GoodOptions", self.options)
        folder = Path(request.base_dir)
        return download(self.context, options.path, what="the agent", checksum=options.checksum, base_dir=folder)


class LosesTheEnd(Good):
    caught_by: ClassVar = {"test_the_binary_arrives"}

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        found = super().fetch_agent(request)
        return FileSource(Content.of(found.content.read()[:1_000_000]), found.digest, found.origin)


class TellsAnotherDigest(Good):
    caught_by: ClassVar = {"test_the_binary_arrives"}

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        found = super().fetch_agent(request)
        return FileSource(found.content, Digest.of(b""), found.origin)


class LooksAtNothing(Good):
    caught_by: ClassVar = {"test_another_architecture_is_refused", "test_what_is_no_program_is_refused"}

    @hookimpl
    def fetch_source(self, plan: Any, request: Any) -> FileSource | None:
        mine = isinstance(request, AgentRequest) and request.driver == self.name
        return self.fetch_agent(request) if mine else None


class LetsErrorsOfTheSystemThrough(Good):
    caught_by: ClassVar = {"test_nothing_to_fetch_is_an_error"}

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        Path(request.base_dir, cast("GoodOptions", self.options).path).stat()
        return super().fetch_agent(request)


class LeavesSomethingBehind(Good):
    caught_by: ClassVar = {"test_nothing_to_fetch_is_an_error"}

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        half = self.context.store.folder / "tmp" / "half"
        half.parent.mkdir(parents=True, exist_ok=True)
        half.touch()
        return super().fetch_agent(request)


class PassesOverChecksums(Good):
    caught_by: ClassVar = {"test_a_wrong_checksum_is_an_error"}

    def fetch_agent(self, request: AgentRequest) -> FileSource:
        path = cast("GoodOptions", self.options).path
        return download(self.context, path, what="the agent", base_dir=Path(request.base_dir))


class AnswersForOthers(Good):
    caught_by: ClassVar = {"test_it_answers_to_its_name_only"}

    @hookimpl
    def fetch_source(self, plan: Any, request: Any) -> Any:
        if getattr(request, "driver", self.name) != self.name:
            return "mine"
        return super().fetch_source(plan, request)
