"""Which builder makes an image from a Dockerfile, and why not another (spec section 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from fledge import drivers
from fledge.errors import BuildError, FledgeError, UsageError

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.kinds import Builder
    from fledge.sources import DockerfileRequest

BUILDKIT: Final = "buildkit"
MODES: Final[Mapping[str, str]] = {"embedded": "microvm", "daemon": BUILDKIT, "docker": "docker", "buildah": "buildah"}
"""The values of FLEDGE_BUILDKIT_MODE, and the builder that each one means."""
PREFERRED: Final = ("microvm", "docker", "buildah")
"""Fledge's own first: it is the same on every machine. Then what users are most likely to have set up."""


def choose(request: DockerfileRequest, context: BuildContext) -> Builder:
    """The builder that the request names, or the environment, or the first that can do it; the log tells which and why.

    Raises UsageError when the one that is named is not installed, BuildError when it can't do it or when none can.
    """
    named = request.driver or _of_mode(context.environ)
    if named is not None:
        builder = _create(named, context)
        if (obstacle := builder.obstacle(request)) is not None:
            raise BuildError(f"the builder {named!r} can't build {request.reference}: {obstacle}")
        context.progress.info(f"builder: {named}, as asked for")
        return builder
    passed_over: list[str] = []
    for name in _candidates(context.environ):
        try:
            builder = _create(name, context)
            obstacle = builder.obstacle(request)
        except FledgeError as error:  # A plugin that does not load is no reason not to take another one.
            obstacle = error.message
        if obstacle is None:
            because = f"; passed over: {'; '.join(passed_over)}" if passed_over else ", the first choice"
            context.progress.info(f"builder: {name}{because}")
            return builder
        passed_over.append(f"{name}: {obstacle}")
    raise BuildError(
        f"no builder can build {request.reference}: {'; '.join(passed_over) or 'none is installed'}",
        hint="mend what keeps one of them, or give source.image = 'oci-archive:FILE' with an image built elsewhere",
    )


def _of_mode(environ: Mapping[str, str]) -> str | None:
    mode = environ.get("FLEDGE_BUILDKIT_MODE")
    if not mode:
        return None
    if mode not in MODES:
        raise UsageError(f"FLEDGE_BUILDKIT_MODE is {mode!r}; allowed: {', '.join(MODES)}")
    return MODES[mode]


def _candidates(environ: Mapping[str, str]) -> Sequence[str]:
    """The installed builders in the order in which they are asked. buildkit only where somebody said where it is."""
    there = drivers.names("builder")
    first = (BUILDKIT,) if environ.get("FLEDGE_BUILDKIT_ADDR") else ()
    order = [name for name in (*first, *PREFERRED) if name in there]
    return [*order, *(name for name in there if name not in (*order, BUILDKIT))]


def _create(name: str, context: BuildContext) -> Builder:
    driver = drivers.load("builder", name)
    return cast("Builder", driver(name, driver.options_model(), context))
