"""What every VMM must do."""

from __future__ import annotations

from fledge.testing.conformance.vmm import VmmConformance


class TestCloudHypervisor(VmmConformance):
    name = "cloud-hypervisor"
    forwards = False
