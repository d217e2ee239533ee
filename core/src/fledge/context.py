"""What a build works with, beside what it makes: given to every driver when it is created."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fledge.progress import Progress

if TYPE_CHECKING:
    from fledge.store import Store


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The store, the display, the environment. `jobs`: worker threads for what releases the GIL; never changes the output."""

    store: Store
    progress: Progress = field(default_factory=Progress)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    jobs: int = field(default_factory=usable_cores)
