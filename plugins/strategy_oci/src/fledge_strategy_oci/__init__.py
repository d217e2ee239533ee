"""The strategy oci_rootfs: an OCI image becomes a root filesystem."""
