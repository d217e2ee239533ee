"""The agent from a URL."""
