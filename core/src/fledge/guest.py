"""What the guest init gets: itself, and the description of what to run (spec sections 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from fledge_guest import INIT_PATH, WORKLOAD_PATH, Architecture, Workload, init_binary, stop_signal

from fledge.errors import BuildError
from fledge.runtime import settle_runtime
from fledge.tree.content import Content
from fledge.tree.inode import File
from fledge.values import GuestPath

if TYPE_CHECKING:
    from fledge.image.config import ImageConfig
    from fledge.plan import BuildPlan
    from fledge.tree.tree import Tree

INIT: Final = GuestPath.parse(INIT_PATH)
WORKLOAD: Final = GuestPath.parse(WORKLOAD_PATH)


def describe(
    plan: BuildPlan,
    image: ImageConfig | None,
    *,
    handover: str | None,
    overlay_size: str | None = None,
    warn: Callable[[str], None],
) -> Workload | None:
    """What runs in the image: the program to hand over to, and what manifest.toml and the image's config say to start.

    None when there is neither. Raises BuildError for what the guest init would refuse, UsageError as settle_runtime.
    """
    signal = None
    if image is not None and image.stop_signal is not None:
        try:
            signal = stop_signal(image.stop_signal)
        except ValueError as error:
            warn(f"the image's StopSignal: {error}; SIGTERM stops the workload")
    section = settle_runtime(plan.manifest, image).workload
    return workload_of(section, handover=handover, overlay_size=overlay_size, stop_signal=signal)


def workload_of(
    section: Mapping[str, Any],
    *,
    handover: str | None = None,
    overlay_size: str | None = None,
    stop_signal: int | None = None,
) -> Workload | None:
    """`section`: the `workload` of a manifest.json. None when there is nothing to run.

    Raises BuildError for what the guest init would refuse.
    """
    entrypoint = tuple(section.get("entrypoint", ()))
    if not entrypoint and handover is None:
        return None
    try:
        return Workload(
            entrypoint=entrypoint,
            env=section.get("env", {}),
            workdir=section.get("workdir"),
            user=section.get("user"),
            handover=handover,
            overlay_size=overlay_size,
            stop_signal=stop_signal,
        )
    except ValueError as error:
        raise BuildError(f"the guest init can't run the workload: {error}") from error


def add_init(tree: Tree, architecture: str, workload: Workload | None, *, warn: Callable[[str], None]) -> None:
    """Puts the guest init at /.fledge/init, and the description beside it if there is one.

    An architecture that there is no init for is told to `warn`. Raises BuildError where the image has a file in the way.
    """
    try:
        init = init_binary(cast("Architecture", architecture))
    except ValueError as error:
        warn(f"{error}: the image boots with an init of its own only")
        return
    tree.insert(INIT, File(Content.of(init), 0o755, mtime=tree.epoch))
    if workload is not None:
        tree.insert(WORKLOAD, File(Content.of(workload.render()), 0o644, mtime=tree.epoch))
