"""JSON Schemas of the files, for editors and for whoever generates them."""

from __future__ import annotations

from typing import Any


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `fledge`, `manifest-template` or `manifest`."""
    from fledge import manifest

    return manifest.schema()
