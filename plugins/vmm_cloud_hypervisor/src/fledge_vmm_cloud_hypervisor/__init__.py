"""The VMM cloud-hypervisor: what Volant boots with."""
