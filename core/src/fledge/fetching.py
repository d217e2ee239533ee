"""What a build needs, fetched through the hooks: what the strategy asks for, and a builder's base images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from fledge import drivers, manifest
from fledge.errors import BuildError, FledgeError
from fledge.image.access import ImageNotFoundError
from fledge.plan import Choice
from fledge.sources import AgentRequest, DockerfileRequest, ImageRequest, ImageSource

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.plan import BuildPlan
    from fledge.plugins import Plugins
    from fledge.sources import Request, Source

_QUICK: Final = 0.2
"""Seconds that a fetch takes at most when the store has everything."""


class Fetcher:
    """Registers the drivers that requests need, and asks the hook for each. Safe to use from several threads."""

    def __init__(self, plugins: Plugins, plan: BuildPlan, context: BuildContext) -> None:
        self._plugins = plugins
        self._plan = plan
        self._context = context
        self._registered: set[tuple[str, str]] = set()
        self._lock = Lock()

    def settle(self, requests: Sequence[Request]) -> list[Request]:
        """Registers the drivers, and chooses the builders that the requests leave open; gives what to fetch.

        Raises UsageError when a driver is not installed, BuildError when no builder can do it.
        """
        with self._lock:
            return [self._settled(request) for request in requests]

    def fetch_all(self, requests: Sequence[Request]) -> list[Source]:
        """All settled requests side by side, in their order.

        A failure is told at once, and raised when the others have ended: no thread outlives this, and the next build has
        what they fetched.
        """
        with ThreadPoolExecutor(max(1, len(requests)), thread_name_prefix="fledge-fetch") as pool:
            futures = [pool.submit(self.fetch, request) for request in requests]
            if wait(futures, timeout=_QUICK).not_done:
                # The threads wait for the network or are in C: what is to be imported later can be imported now. Not beside
                # a Dockerfile's steps: they may be Python, and two threads of that are slower than one.
                if not any(isinstance(request, DockerfileRequest) for request in requests):
                    self._plugins.filesystem.import_ahead()
                    manifest.validator()
                done, going = wait(futures, return_when=FIRST_EXCEPTION)
                for error in (future.exception() for future in done if going):
                    if isinstance(error, FledgeError):
                        self._context.progress.warning(f"{error.message}; what else is fetched is still waited for")
            return [future.result() for future in futures]

    def fetch(self, request: Request) -> Source:
        """One settled request; of an image that a transport does not have, from the others that it names."""
        source: Source | None
        try:
            source = self._plugins.hook.fetch_source(plan=self._plan, request=request)
        except ImageNotFoundError as error:
            if not isinstance(request, ImageRequest) or not request.others:
                raise
            there, *others = request.others
            self._context.progress.info(f"{error.message}; looking at {there}")
            return self.fetch(replace(request, reference=there, others=tuple(others)))
        if source is None:
            raise BuildError(f"no plugin answered the request for {request}")
        return source

    def _settled(self, request: Request) -> Request:
        if isinstance(request, ImageRequest):
            for reference in (request.reference, *request.others):
                self._register("transport", reference.transport)
        elif isinstance(request, AgentRequest):
            self._register("agent", request.driver)
        else:
            return self._with_builder(request)
        return request

    def _with_builder(self, request: DockerfileRequest) -> DockerfileRequest:
        from fledge.builders import choose

        builder = choose(request, self._context)
        builder.fetch_base = self._fetch_base
        if self._is_new("builder", builder.name):
            self._plugins.add(f"builder {builder.name}", builder)
        return replace(request, driver=builder.name)

    def _fetch_base(self, request: ImageRequest) -> ImageSource:
        (settled,) = self.settle([request])
        return cast("ImageSource", self.fetch(settled))

    def _register(self, kind: str, name: str) -> None:
        if self._is_new(kind, name):
            agent = self._plan.agent
            given = agent if agent is not None and (kind, name) == ("agent", agent.name) else None
            self._plugins.add_driver(kind, given or Choice(name, drivers.load(kind, name).options_model()))

    def _is_new(self, kind: str, name: str) -> bool:
        new = (kind, name) not in self._registered
        self._registered.add((kind, name))
        return new
