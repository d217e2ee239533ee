"""Base images with a transport (`FROM oci:./base:1`): Fledge fetches them, and hands them to the daemon as OCI layouts."""

from __future__ import annotations

from pathlib import Path

from fledge.image.layout import write_layout
from fledge.sources import ImageSource


class Layouts:
    """Layouts in a folder, and the flags that tell buildctl where they are."""

    def __init__(self, folder: Path) -> None:
        self.flags: list[str] = []
        self._folder = folder

    def hand(self, image: ImageSource) -> str:
        """Writes one; the name that it has in the Dockerfile."""
        name = f"fledge-base-{len(self.flags) // 4}"
        digest = write_layout(image, self._folder / name)
        self.flags += ["--oci-layout", f"{name}={self._folder / name}"]
        self.flags += ["--opt", f"context:{name}=oci-layout://{name}@{digest}"]
        return name
