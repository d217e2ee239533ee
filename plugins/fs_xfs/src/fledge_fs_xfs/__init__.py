"""The filesystem xfs."""
