"""The builder docker."""
