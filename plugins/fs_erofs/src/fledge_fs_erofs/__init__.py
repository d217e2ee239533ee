"""The filesystem erofs."""
