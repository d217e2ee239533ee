"""Boots an artifact in a virtual machine and tells whether it came up (spec section 8)."""
