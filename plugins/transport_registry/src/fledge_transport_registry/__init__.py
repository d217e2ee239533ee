"""Docker:// image references, from any OCI registry."""
