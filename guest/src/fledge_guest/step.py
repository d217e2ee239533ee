"""One step of a build, for the init: a workload that changes a copy of a disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fledge_guest.workload import SIZE_MAX, Workload, encode

MOUNTS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class StepMount:
    """What the step sees at `target`, an absolute path without symlinks, which is made where it is missing.

    `source`: without a `type` a file or folder of the initramfs, with one a device. `within`: a name at the root of that
    device's filesystem that is seen in place of all of it. `options`: for the filesystem, as mount(2) takes them.
    """

    target: str
    source: str | None = None
    type: str | None = None
    within: str | None = None
    options: str | None = None
    read_only: bool = False

    def fields(self) -> Iterator[tuple[str, str]]:
        """The fields of the description."""
        yield "mount", self.target
        for key, value in (("type", self.type), ("source", self.source), ("within", self.within)):
            if value is not None:
                yield f"mount_{key}", value
        if self.options:
            yield "mount_options", self.options
        if self.read_only:
            yield "mount_read_only", "yes"


@dataclass(frozen=True, slots=True)
class Step:
    """What runs, the device for its changes, the device for its output, and what it sees beside its root.

    Raises ValueError for anything that the init would refuse.
    """

    workload: Workload
    scratch: str
    """An ext4 disk with the folders `upper`, `work` and `root`."""
    output: str
    mounts: tuple[StepMount, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mounts) > MOUNTS_MAX:
            raise ValueError(f"{len(self.mounts)} mounts; the guest init takes at most {MOUNTS_MAX}")
        for path in (self.scratch, self.output, *(one.target for one in self.mounts)):
            if not path.startswith("/"):
                raise ValueError(f"{path!r} is not an absolute path")
        self.render()

    def render(self) -> bytes:
        """The content of `/.fledge/step`."""
        pairs = [("scratch", self.scratch), ("output", self.output)]
        pairs += [pair for mount in self.mounts for pair in mount.fields()]
        for key, value in pairs:
            if "\0" in value or not value:
                raise ValueError(f"{key} {value!r} is empty or has a NUL byte, which no path can hold")
        data = self.workload.render() + b"".join(b"%s=%s\0" % (key.encode(), encode(value)) for key, value in pairs)
        if len(data) > SIZE_MAX:
            raise ValueError(f"the step takes {len(data)} bytes; the guest init reads at most {SIZE_MAX}")
        return data
