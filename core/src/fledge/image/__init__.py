"""OCI images: their JSON documents, and the pull that turns a reference into layers."""
