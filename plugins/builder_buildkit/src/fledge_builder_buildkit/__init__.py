"""The builder buildkit."""
