"""The agent from a file of this machine."""
