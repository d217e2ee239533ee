"""The VMM firecracker."""
