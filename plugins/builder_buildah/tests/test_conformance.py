"""What every builder must do."""

from __future__ import annotations

from fledge.testing.conformance.builder import BuilderConformance


class TestBuildah(BuilderConformance):
    name = "buildah"
