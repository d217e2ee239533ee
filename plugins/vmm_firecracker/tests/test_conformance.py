"""What every VMM must do."""

from __future__ import annotations

from fledge.testing.conformance.vmm import VmmConformance


class TestFirecracker(VmmConformance):
    name = "firecracker"
    forwards = False
