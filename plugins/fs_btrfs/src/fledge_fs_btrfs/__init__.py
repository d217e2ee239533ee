"""The filesystem btrfs."""
