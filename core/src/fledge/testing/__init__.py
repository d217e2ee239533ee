"""What tests of drivers share: hostile trees, and oracles that are not ours. Needs pytest."""
