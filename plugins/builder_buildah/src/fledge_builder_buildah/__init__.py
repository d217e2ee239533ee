"""The builder buildah."""
