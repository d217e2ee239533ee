"""The agent from a GitHub release."""
