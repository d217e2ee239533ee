"""The builder microvm."""
