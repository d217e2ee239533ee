"""Ext4 images, written in pure Python."""
