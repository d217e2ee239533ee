"""Oci:, oci-archive: and docker-archive: image references."""
