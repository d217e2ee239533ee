"""Squashfs images, written in pure Python."""
